"""The words that decide what a number beside them means: bounds, denials, explanations, conclusions."""

import re

# With one of these beside a number, the number is not what is meant: "more than 65", "half of 130", "not 65".
CHANGING_WORD = re.compile(
    "not|no|never|isn|cannot|less|more|least|most|fewer|than|half|almost|nearly|exceed|exceeds|exceeding|beyond"
    "|twice|double|triple|thrice|hundreds?|thousands?|millions?|billions?|trillions?|dozens?"
    "|halves|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|times|minus|plus|divided|multiplied|squared|cubed"
    "|.*(?:不|大于|小于|超过|至少|至多|以上|以下|将近|几乎|最多|最少|倍|半|加|减|乘|除).*"
)
# Directly before a number these bound it; elsewhere they describe ("the smaller angle is 65°").
BOUND_BEFORE = re.compile(
    r"\b(?:greater|smaller|larger|bigger|higher|lower|over|under|above|below|close|near|within|inside"
    r"|(?:close|near|adjacent)\s+to|(?<!add )(?<!adds )(?<!adding )(?<!sum )(?<!sums )up\s+to|(?:maxim|minim)um\s+of)"
    r"\s*[$(\[{]*\s*-?\s*$",
    re.IGNORECASE,
)
# "5 or more", "5 and above", "5 or so": what follows the conjunction takes the number back.
BOUND_BEHIND = re.compile(
    r"\s*(?:even\s+)?(?:more|less|fewer|greater|higher|lower|larger|bigger|smaller|above|below|over|under|up|upwards?|beyond"
    r"|later|earlier)\b(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
OR_EQUAL = re.compile(
    r"\b(less|greater|more|fewer|larger|smaller|bigger|higher|lower)(?:\s+than)?\s+or\s+equals?(?:\s+to)?\b|(?:大于|小于)(?:或)?等于",
    re.IGNORECASE,
)
DENIED = re.compile(
    r"\b(?:not|isn't|never|cannot|can't|wrong|incorrect|false|impossible)\b|n't\b|≠|\\neq?\b|不|错", re.IGNORECASE
)
# With one of these the text holds several candidates.
CANDIDATE_WORD = re.compile("between|from|either|neither|both|respectively")
CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|answer(?=\s*(?:is|[:=]))|in conclusion)\b|答案|所以|因此|故", re.IGNORECASE
)
# What follows one of these explains the value before it, or leads to the value behind the next comma.
_EXPLAINING = (
    r"because|since|as|given\s+that|given|due\s+to|using|where|considering|after|explanation|reason(?:ing)?|proof|note|check"
    r"|verification|with"
)
EXPLAINS = re.compile(rf"\s*(?:\b(?:{_EXPLAINING})\b|因为|由于)", re.IGNORECASE)
# These explain only at the front or behind a comma: "65°, as x = 5", but "AB is given as 5".
EXPLAINS_WEAKLY = re.compile(r"as|with|given", re.IGNORECASE)
# What ends a clause. The word that begins the next one is its `joint`.
JOINT = re.compile(rf"[;\n,]|[.!?](?![0-9])|\b(?:or|and|but|{_EXPLAINING})\b|因为|由于|或|和|与|及", re.IGNORECASE)
TOTAL = re.compile(
    r"\b(?:total|altogether|in\s+all|overall|objects?|items?|things?|shapes?|left|remain\w*)\b|一共|总共|共",
    re.IGNORECASE,
)


def takes_back(text: str) -> bool:
    """Whether words in `text` deny or change a value that stands beside them."""
    return DENIED.search(text) is not None or any(
        map(CHANGING_WORD.fullmatch, re.findall(r"[a-z]+|[\u3400-\u9fff]+", text.lower()))
    )
