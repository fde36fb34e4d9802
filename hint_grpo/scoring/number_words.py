"""Numbers in words as digits: "thirty-five" becomes 35, "two thirds" \\frac{2}{3}, "negative six" -6.

Used by `remarks.py` on texts without digits. Words that do not form one number are replaced one by one ("five six" becomes
5 6) or stay ("hundreds").
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
