"""Numbers in words as digits: "thirty-five" is 35, "two thirds" is \\frac{2}{3}, "negative six" is -6.

Words that form no number together ("five six", "hundreds") stay as they are, or are taken one by one.
"""

import re

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
_NUMBER = re.compile(
    rf"(?P<sign>\bnegative\s+)?\b(?P<number>(?:an?\s+(?=hundred|thousand|million))?(?:{_WORD})"
    rf"(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*)\b(?:[\s-]+(?P<part>{'|'.join(_PARTS)})s?\b)?",
    re.IGNORECASE,
)
# "One" counts at the front, behind a verb or a number, and behind words such as "only"; elsewhere it stands for a noun.
_BEFORE_ONE = (
    "is|are|was|were|be|s|equals?|only|exactly|just|about|approximately|roughly|has|have|contains?|leaves?|leaving|see|gets?"
    f"|got|gives?|count|counted|found|find|remains?|to|and|or|a|negative|minus|answer|number|{_WORD}"
)
_PRONOUN = re.compile(rf"\b(?!(?:{_BEFORE_ONE})\b)([A-Za-z]+\s+)ones?\b|\bone(?=\s+(?:of|another)\b)", re.IGNORECASE)
_ONE_PART = re.compile(rf"\ban?\s+(?P<part>{'|'.join(_PARTS)})\b(?=\s*(?:[.,;]|$))", re.IGNORECASE)


def with_digits(text: str) -> str:
    """`text`, which holds no digits, with its number words as digits. In "the red one" the word is a pronoun."""
    text = _PRONOUN.sub(lambda match: f"{match[1] or ''}it", text)
    text = _ONE_PART.sub(lambda match: rf"\frac{{1}}{{{_PARTS[match['part'].lower()]}}}", text)
    return _NUMBER.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    words = [word for word in re.split(r"[\s-]+", match["number"].lower()) if word not in ("a", "an")]
    value = _value(words)
    if value is None:  # several numbers, or no number at all
        return re.sub(r"[A-Za-z]+", lambda word: str(_SMALL.get(word[0].lower(), word[0])), match[0])
    sign = "-" if match["sign"] else ""
    if match["part"]:
        return rf"{sign}\frac{{{value}}}{{{_PARTS[match['part'].lower()]}}}"
    return f"{sign}{value}"


def _value(words: list[str]) -> int | None:
    """[one, hundred, and, five] -> 105; None where the words do not form one number."""
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
