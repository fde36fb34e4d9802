"""The words that change what a number beside them means: bounds, denials, explanations, conclusions.

Used by all readers of answers; English, and the Chinese of GeoQA. The comment before each pattern gives an example.
"""

import re

# ----------------------------------------------------------------------------------------------------
# Words that change or deny a value

# Whole words that make a number beside them another value or a bound: "more than 65", "half of 130", "not 65", "大于65".
CHANGING_WORD = re.compile(
    "not|no|never|isn|cannot|less|more|least|most|fewer|than|half|almost|nearly|exceed|exceeds|exceeding|beyond"
    "|twice|double|triple|thrice|hundreds?|thousands?|millions?|billions?|trillions?|dozens?"
    "|halves|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|times|minus|plus|divided|multiplied|squared|cubed"
    "|.*(?:不|大于|小于|超过|至少|至多|以上|以下|将近|几乎|最多|最少|倍|半|加|减|乘|除).*"
)
# Bounds only if they stand directly before the number ("over" in "over 65"); "the smaller angle is 65°" describes.
BOUND_BEFORE = re.compile(
    r"\b(?:greater|smaller|larger|bigger|higher|lower|over|under|above|below|close|near|within|inside"
    r"|(?:close|near|adjacent)\s+to|(?<!add )(?<!adds )(?<!adding )(?<!sum )(?<!sums )up\s+to|(?:maxim|minim)um\s+of)"
    r"\s*[$(\[{]*\s*-?\s*$",
    re.IGNORECASE,
)
# What follows "or" or "and" makes the number before them a bound: the " more" of "5 or more", the " above" of "5 and above".
BOUND_AFTER = re.compile(
    r"\s*(?:even\s+)?(?:more|less|fewer|greater|higher|lower|larger|bigger|smaller|above|below|over|under|up|upwards?|beyond"
    r"|later|earlier)\b(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
# "less than or equal to", "大于或等于": one bound, in which "or" does not separate two candidates.
OR_EQUAL = re.compile(
    r"\b(less|greater|more|fewer|larger|smaller|bigger|higher|lower)(?:\s+than)?\s+or\s+equals?(?:\s+to)?\b|(?:大于|小于)(?:或)?等于",
    re.IGNORECASE,
)
# "it isn't 65", "65 is wrong", "不是65".
DENIED = re.compile(
    r"\b(?:not|isn't|never|cannot|can't|wrong|incorrect|false|impossible)\b|n't\b|≠|\\neq?\b|不|错", re.IGNORECASE
)
# Whole words that announce several candidates: "between 60 and 72".
CANDIDATE_WORD = re.compile("between|from|either|neither|both|respectively")

# ----------------------------------------------------------------------------------------------------
# Words that divide a text into clauses

# What follows is the conclusion: "so x = 65", "the answer is 65", "所以x=65".
CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|answer(?=\s*(?:is|[:=]))|in conclusion)\b|答案|所以|因此|故", re.IGNORECASE
)
# What follows explains the value before ("65°, because x = 5") or leads to the value after the next comma ("since x = 5,
# y = 6").
_EXPLAINING = (
    r"because|since|as|given\s+that|given|due\s+to|using|where|considering|after|explanation|reason(?:ing)?|proof|note|check"
    r"|verification|with"
)
EXPLAINS = re.compile(rf"\s*(?:\b(?:{_EXPLAINING})\b|因为|由于)", re.IGNORECASE)
# These explain only at the start or after a comma: "65°, as x = 5", but not "AB is given as 5".
EXPLAINS_WEAKLY = re.compile(r"as|with|given", re.IGNORECASE)
# Separates two clauses: the comma of "x = 65, y = 115", the "or" of "65 or 115"; not the point of "6.5".
CLAUSE_BREAK = re.compile(
    rf"[;\n,]|[.!?](?![0-9])|\b(?:or|and|but|{_EXPLAINING})\b|因为|由于|或|和|与|及", re.IGNORECASE
)
# Names the whole of which other numbers are parts: "5 in total", "3 cubes left", "一共5个".
TOTAL = re.compile(
    r"\b(?:total|altogether|in\s+all|overall|objects?|items?|things?|shapes?|left|remain\w*)\b|一共|总共|共",
    re.IGNORECASE,
)


def denies_or_changes(text: str) -> bool:
    """Whether words in `text` deny or change a value beside them: "not 65", "more than 65"."""
    return DENIED.search(text) is not None or any(
        map(CHANGING_WORD.fullmatch, re.findall(r"[a-z]+|[\u3400-\u9fff]+", text.lower()))
    )
