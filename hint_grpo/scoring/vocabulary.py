"""The vocabulary of answers: units, words beside a value, numbers in words, and letters of options. Pure text, light to import.

units             cm, m^2, square metres, cm^2^, 平方米, 海里, km/h, degrees, °
words             "more than 65" is a bound, "not 65" a denial, "so x = 65" a conclusion, "because x = 5" an explanation
number words      "thirty-five" is 35, "two thirds" \\frac{2}{3}
option letters    "(A)", "B.", "the correct answer is C"
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from string import ascii_uppercase as LETTERS

# ----------------------------------------------------------------------------------------------------
# Units of measurement after a value. A value without a unit equals one with any unit, because ground truths often omit theirs.
# Two units must measure the same quantity and are converted: 0.5 m is 50 cm.

# One line per unit: (quantity, power), size in the quantity's base unit, names. "s?" at the end of a name is an optional s.
# "units" and 单位 measure nothing, so that they fit any unit.
_NAMES: dict[str, tuple[str, int, Fraction]] = {
    name: (*measured, Fraction(size))
    for measured, size, names in (
        (("length", 1), "0.001", "mm|millimeters?|millimetres?|毫米"),
        (("length", 1), "0.01", "cm|cms|centimeters?|centimetres?|厘米|公分"),
        (("length", 1), "0.1", "dm|decimeters?|decimetres?|分米"),
        (("length", 1), "1", "m|meters?|metres?|米"),
        (("length", 1), "1000", "km|kms|kilometers?|kilometres?|千米|公里"),
        (("length", 1), "1852", "nautical miles?|sea miles?|n miles?|nmi|海里"),
        (("length", 1), "1609.344", "miles?"),
        (("length", 1), "0.0254", "inch|inches"),
        (("length", 1), "0.3048", "ft|foot|feet"),
        (("length", 1), "0.9144", "yards?|yd"),
        (("time", 1), "1", "s|sec|secs|seconds?|秒"),
        (("time", 1), "60", "min|mins|minutes?|分钟|分"),
        (("time", 1), "3600", "h|hr|hrs|hours?|小时|时"),
        (("time", 1), "86400", "days?|天"),
        (("angle", 1), "1", "°|degrees?|deg|度"),
        (("mass", 1), "0.001", "g|grams?|克"),
        (("mass", 1), "1", "kg|kgs|kilograms?|千克|公斤"),
        (("money", 1), "1", "元|yuan"),
        (("dollar", 1), "1", "dollars?"),
        (("length", 3), "0.001", "L|liters?|litres?|升"),
        (("length", 3), "0.000001", "mL|ml|milliliters?|millilitres?|毫升"),
        (("none", 1), "1", "units?|单位"),
    )
    for name in (  # both forms of "meters?": meter, meters
        form
        for pattern in names.split("|")
        for form in ([pattern[:-2], pattern[:-2] + "s"] if pattern.endswith("s?") else [pattern])
    )
}
_ANY_NAME = "|".join(sorted((re.escape(name).replace(r"\ ", r"\s+") for name in _NAMES), key=len, reverse=True))
_POWER_WORDS = {"square": 2, "sq": 2, "平方": 2, "cubic": 3, "立方": 3, "squared": 2, "cubed": 3}
# One unit with its power: "square cm", "cm^2", "cm^{2}", "cm2", "cm squared", "平方米". Never directly before another letter.
_ONE = re.compile(
    rf"(?:(?P<before>(?i:square|sq|cubic)(?=[\s.])|平方|立方)\.?\s*)?"
    rf"(?:(?P<name>(?i:{_ANY_NAME}))(?![A-Za-z]))"
    rf"(?:\s*\^\s*\{{?\s*(?P<power>[1-9](?:\.0)?)\s*\}}?\^?|(?P<digit>[23])(?![0-9.])|\s+(?P<after>(?i:squared|cubed))\b)?"
)
# Between the two units of a quotient: "km/h", "km per h".
_PER = re.compile(r"\s*(?:/|\bper\b|每)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """A unit, such as km/h: `dimension` (("length", 1), ("time", -1)), sorted; `size` 1000/3600 of the base units."""

    dimension: tuple[tuple[str, int], ...]
    size: Fraction


def match_unit(text: str, start: int) -> tuple[Unit, int] | None:
    """The unit that begins at `start`, and the position after it; None if there is none.

    match_unit("5 cm long", 2) gives centimetres and 4.
    """
    found = _match_one(text, start)
    if found is None:
        return None
    dimension, size, end = found
    per = _PER.match(text, end)
    below = _match_one(text, per.end()) if per else None
    if below:
        for measured, power in below[0].items():
            dimension[measured] = dimension.get(measured, 0) - power
        size, end = size / below[1], below[2]
    dimension.pop("none", None)
    return Unit(tuple(sorted(dimension.items())), size), end


def _match_one(text: str, start: int) -> tuple[dict[str, int], Fraction, int] | None:
    """Dimension, size and end of a unit that is not a quotient."""
    match = _ONE.match(text, start)
    if match is None:
        return None
    name = re.sub(r"\s+", " ", match["name"])
    # Case matters for names of one letter: M is a point of the figure, m is a metre.
    unit = _NAMES.get(name if len(name) == 1 else name.lower()) or _NAMES.get(name)
    if unit is None:
        return None
    measured, base_power, size = unit
    power = 1
    if word := match["before"] or match["after"]:
        power = _POWER_WORDS[word.lower()]
    elif digits := match["power"] or match["digit"]:
        power = int(float(digits))
    return {measured: base_power * power}, size**power, match.end()


def conversion_factor(answer: Unit | None, gold: Unit | None) -> Fraction | None:
    """The factor that converts the answer's value to the ground truth's unit; None if they measure different quantities.

    Centimetres to metres: 1/100. 1 if one of them has no unit.
    """
    if answer is None or gold is None or not answer.dimension or not gold.dimension:
        return Fraction(1)
    if answer.dimension != gold.dimension:
        return None
    return answer.size / gold.size


# ----------------------------------------------------------------------------------------------------
# Words that change or deny a value. English, and the Chinese of GeoQA; the comment before each pattern gives an example.

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

# What stands before an answer in words: "So the answer is ".
UP_TO_ANSWER_IS = re.compile(r"^.*\banswer\s*(?:is|:)\s*", re.IGNORECASE)
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


# ----------------------------------------------------------------------------------------------------
# Numbers in words as digits: "thirty-five" becomes 35, "two thirds" \frac{2}{3}, "negative six" -6.
#
# Used by `single_value.py` on texts without digits. Words that do not form one number are replaced one by one ("five six" becomes
# 5 6) or stay ("hundreds").

_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"thousand": 1_000, "million": 1_000_000}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10,
}  # fmt: skip
_WORD = "|".join([*_SMALL, *_TENS, "hundred", *_SCALES])
# "negative one hundred and five", "a hundred", "two thirds", "thirty-five"
_WORDED_NUMBER = re.compile(
    rf"(?P<sign>\bnegative\s+)?\b(?P<number>(?:an?\s+(?=hundred|thousand|million))?(?:{_WORD})"
    rf"(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*)\b(?:[\s-]+(?P<part>{'|'.join(_PARTS)})s?\b)?",
    re.IGNORECASE,
)
# "One" is a number at the start, after a verb or a number, and after words such as "only". Elsewhere it stands for a noun,
# as in "the red one" and "one of them".
_BEFORE_ONE = (
    "is|are|was|were|be|s|equals?|only|exactly|just|about|approximately|roughly|has|have|contains?|leaves?|leaving|see|gets?"
    f"|got|gives?|count|counted|found|find|remains?|to|and|or|a|negative|minus|answer|number|{_WORD}"
)
_PRONOUN = re.compile(rf"\b(?!(?:{_BEFORE_ONE})\b)([A-Za-z]+\s+)ones?\b|\bone(?=\s+(?:of|another)\b)", re.IGNORECASE)
# "a half" at the end of a clause
_ONE_PART = re.compile(rf"\ban?\s+(?P<part>{'|'.join(_PARTS)})\b(?=\s*(?:[.,;]|$))", re.IGNORECASE)


def with_digits(text: str) -> str:
    """`text`, which has no digits, with its number words as digits: "there are thirty-five" becomes "there are 35"."""
    text = _PRONOUN.sub(lambda match: f"{match[1] or ''}it", text)
    text = _ONE_PART.sub(lambda match: rf"\frac{{1}}{{{_PARTS[match['part'].lower()]}}}", text)
    return _WORDED_NUMBER.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    words = [word for word in re.split(r"[\s-]+", match["number"].lower()) if word not in ("a", "an")]
    value = _number(words)
    if value is None:  # not one number: word by word
        return re.sub(r"[A-Za-z]+", lambda word: str(_SMALL.get(word[0].lower(), word[0])), match[0])
    sign = "-" if match["sign"] else ""
    if match["part"]:
        return rf"{sign}\frac{{{value}}}{{{_PARTS[match['part'].lower()]}}}"
    return f"{sign}{value}"


def _number(words: list[str]) -> int | None:
    """105 for [one, hundred, and, five]; None if the words do not form one number."""
    # `total` of the finished thousands, `current` since then, and the kind of the word before.
    total, current, before = 0, 0, ""
    for word in words:
        if word == "and":
            if before not in ("hundred", "scale"):
                return None
            continue
        if word in _SMALL:
            if before == "small" or (before == "tens" and not 1 <= _SMALL[word] <= 9):
                return None
            current, before = current + _SMALL[word], "small"
        elif word in _TENS:
            if before in ("small", "tens"):
                return None
            current, before = current + _TENS[word], "tens"
        elif word == "hundred":
            if before not in ("", "scale", "small") or current > 9:
                return None
            current, before = 100 * (current or 1), "hundred"
        else:
            if before == "scale":
                return None
            total, current, before = total + (current or 1) * _SCALES[word], 0, "scale"
    return total + current


# ----------------------------------------------------------------------------------------------------
# Letters of multiple-choice options: how they are written, and which option a letter names.
#
# Every module that reads option letters builds on this one:
#
#     data/fill_in.py                  the list of options in a training question
#     data/answers.py                  the letter in a training record's conclusion; an unclear one is refused
#     scoring/choices.py               the letters that a completion puts forward
#     scoring/checker.py, single_value.py   a ground truth that is a letter; a letter in front of a value
#     evaluation/datasets/adapter.py   a benchmark's answer column: a letter, an index or an option's text
#     evaluation/judging.py            the chosen letter against the options of the question
#
# What may stand around a letter differs between them on purpose: a wrong ground truth does more harm than a refused one,
# while a completion is read generously. data/llava_cot.py does not use this module: it reproduces the authors' released
# rules, which know only A to D.

MAX_UNLISTED = 8
"""Options assumed for a question that does not list them: a letter beyond H is then the name of a point or a variable."""
UNLISTED = f"[{LETTERS[0]}-{LETTERS[MAX_UNLISTED - 1]}]"

# Around a letter, as patterns. Texts that went through `plain_markup` have ASCII brackets only; raw training texts may
# have the full-width ones of Chinese records (\uff08 and \uff09), but no square ones.
OPEN, CLOSE = r"[(\[]", r"[)\]]"
RAW_OPEN, RAW_CLOSE = r"[(\uff08]", r"[)\uff09]"

# "The correct answer is:" or "option" in front of a letter.
LEAD = r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*)"

# A text that is a letter ("B", "(B)", "The answer is B."), and one that begins with a labelled letter ("B. 65°").
_LETTER_ALONE = re.compile(rf"{LEAD}?{OPEN}?([A-Z]){CLOSE}?[.:]?", re.IGNORECASE)
_LETTER_FIRST = re.compile(rf"\s*{OPEN}?([A-Z])(?:{CLOSE}\s*[.:]?|[.:])\s*\S")


def gold_letter(plain: str) -> str | None:
    """The letter that a ground truth gives ("B", "(B)", "B. 65°", "The answer is B."); None if it gives none.

    `plain` has gone through `plain_markup`.
    """
    match = _LETTER_ALONE.fullmatch(plain) or _LETTER_FIRST.match(plain)
    return match[1].upper() if match else None


def is_option(letter: str, num_options: int, *, unlisted: int = MAX_UNLISTED) -> bool:
    """Whether the letter names one of the options; 0 options means that they are not known, and `unlisted` counts."""
    return len(letter) == 1 and letter in LETTERS[: num_options or unlisted]


def texts_by_letter(options: Sequence[str]) -> dict[str, str]:
    """The options whose text is known, by letter: ("30°", "", "60°") -> {"A": "30°", "C": "60°"}."""
    return {letter: text for letter, text in zip(LETTERS, options, strict=False) if text}
