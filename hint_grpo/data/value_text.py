"""A value as a person writes it, found among words: "exactly 2√3 cm long" holds "2√3 cm", "5 red cubes" holds "5"."""

import re

from hint_grpo.data.filters import Filter, Refused

NUMBER_SIGN = re.compile(r"[\d½⅓⅔¼¾⅕⅙⅛⅜⅝⅞π]|\\pi\b")
LABEL = re.compile(
    r"(?:(?:∠|\\angle|\b(?:angle|figure|fig\.|point|line|triangle))\s*\d+\b|\b[A-Za-z]_\{?\d+\}?)", re.IGNORECASE
)
NUMBER = re.compile(
    r"[-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*:\s*\d+(?:\.\d+)?)*\s*"
    r"(?:°|%|π|degrees?\b|(?:square\s+|cubic\s+)?(?:[cmk]m|m|km|centimeters?|meters?|units?)\b[²³]?)?"
)
LEADING_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
# With one of these a number is a part of the value and not the value: √3, 16\\pi, x^2, sin 30°, 2x.
MORE_THAN_A_NUMBER = re.compile(
    r"[√≈]|\\(?:sqrt|pi|[dtc]?frac|sin|cos|tan|cot|log|ln)(?![A-Za-z])|\^|\b(?:arc)?(?:sin|cos|tan|cot|log|ln)\b"
    r"|\d(?![cdkm]?m\b|[gmsh]\b)[A-Za-z](?![A-Za-z])"
)
WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}\b|[\u4e00-\u9fff]+")
# What may stand beside a number in a value: units, names of points and variables ("AB = 5 cm"), "or" between two
# solutions.
VALUE_WORD = re.compile(
    r"[A-Z]{2,4}|or|and|pi|sqrt|sin|cos|tan|cot|[cmkd]?m|[cmk]?g|in|ft|sq|deg|degrees?|percent|square|cubic|units?|"
    r"(?:centi|milli|kilo|deci)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?|"
    r"[或和度元升克秒分时天]|小时|分钟|海里|公里|千克|(?:平方|立方)?[毫厘分千]?米"
)
# Words and signs that make another number of the one beside them.
CHANGES = re.compile(
    r"\b(?:half|twice|double|triple|thrice|quarter|third)\s+(?:of\s+)?(?:the\s+)?\d"
    r"|\b(?:(?:root|squares?|cubes?|multiple|factor|power|reciprocal|inverse|sine|cosine|tangent)\s+of|by|from|subtract\w*|add\w*"
    r"|multipl\w*|divid\w*)\s+(?:the\s+)?[-\\($]*[\d√]"
    r"|\d\s+(?:dozens?|hundreds?|thousands?|millions?|billions?|squared|cubed"
    r"|thirds?|quarters?|halves|fourths?|fifths?|sixths?|eighths?|tenths?|plus|minus|divided|multiplied|times\s+\d)\b",
    re.IGNORECASE,
)
TORN = re.compile(r"[-−+*/×÷=]\s*(?:[*/×÷=)]|$)|^\s*[+*/×÷=]")
LABEL_IN_FORMULA = re.compile(rf"{LABEL.pattern}\s*[-−+*/×÷]|[-−+*/×÷]\s*{LABEL.pattern}", re.IGNORECASE)
NEGATIVE = re.compile(r"(?<![\d\w)}°]\s)\b(?:negative|minus)\s+(?=[\d√\\π.$])", re.IGNORECASE)
DANGLING = re.compile(r"^(?:(?:or|and|in)\s+|[\s,;:]+)+|(?:\s+(?:or|and|in)|[\s,;:]+)+$")
NAMES_BEFORE = re.compile(r"^(?:[A-Z]{1,4}\s+)+(?=[\d√\\π$])")


def tidy(conclusion: str) -> str:
    """Without what only decorates: white space, bold, a formula's brackets around everything, the closing full stop."""
    text = " ".join(conclusion.replace("**", "").split()).strip("*_ ")
    text = text[:-1].rstrip() if text.endswith((".", "。")) or re.search(r"[a-z]!$", text) else text
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            return inner.strip()
    return text


def has_number(text: str) -> bool:
    """Whether the text holds a number; the 1 of "angle 1" is a name."""
    return NUMBER_SIGN.search(LABEL.sub("", text)) is not None


def is_value(text: str) -> bool:
    """A number with only units and names around it: "40°", "3\\sqrt{2} cm", "x = 3 or x = 5"; not "5 red cubes"."""
    return has_number(text) and all(VALUE_WORD.fullmatch(word) for word in WORD.findall(_without_text(text)))


def value_in(text: str) -> str:
    """The one value in what a statement says; raises Refused where it holds several, or one that words change."""
    text, written = NEGATIVE.sub("-", LABEL.sub(" ", text)), text
    if CHANGES.search(text) or LABEL_IN_FORMULA.search(written):
        raise Refused(Filter.UNCLEAR_ANSWER)
    text = _without_empty_estimate(_balanced(tidy(text)))
    if is_value(text) and not _whole(text):
        raise Refused(Filter.UNCLEAR_ANSWER)
    if is_value(text):
        return NAMES_BEFORE.sub("", tidy(text)) if MORE_THAN_A_NUMBER.search(text) else tidy(text)
    runs = [run for run in _runs(text) if has_number(run)]
    if len(runs) != 1:
        raise Refused(Filter.SEVERAL_VALUES)
    run = NAMES_BEFORE.sub("", _balanced(tidy(DANGLING.sub("", runs[0]))))
    if MORE_THAN_A_NUMBER.search(run):
        if not _whole(run):
            raise Refused(Filter.UNCLEAR_ANSWER)
        return _without_empty_estimate(run)
    numbers = {number.strip() for number in NUMBER.findall(run)}
    if len(numbers) > 1:
        raise Refused(Filter.SEVERAL_VALUES)
    return numbers.pop() if numbers else run


def _runs(text: str) -> list[str]:
    """The pieces of a text between words that belong to no value."""
    runs, start = [], 0
    for word in WORD.finditer(text):
        if not VALUE_WORD.fullmatch(word[0]) and not text[: word.start()].endswith(
            ("\\text{", "\\text{ ", "\\mathrm{")
        ):
            runs.append(text[start : word.start()])
            start = word.end()
    return [*runs, text[start:]]


def _without_empty_estimate(text: str) -> str:
    """The value alone where only a name stands before "≈"; "10√3 ≈ 17.3" stays."""
    before, sign, behind = text.rpartition("≈")
    return text if not sign or has_number(before) else behind.strip()


def _balanced(text: str) -> str:
    """Without a formula's brackets where only one of a pair is left."""
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.count(opening) != text.count(closing):
            text = text.replace(opening, "").replace(closing, "")
    return (text.replace("$", "") if text.count("$") % 2 else text).strip()


def same_number(first: str, second: str) -> bool:
    """ "65" and "65°" are one value."""
    numbers = [LEADING_NUMBER.match(text) for text in (first, second)]
    if not all(numbers) or not all(NUMBER.fullmatch(text) for text in (first, second)):
        return first == second
    return len({number[0] for number in numbers if number}) == 1


def _whole(text: str) -> bool:
    """Whether a piece holds whole brackets and whole sums, and no part of a tag: no words were cut out of its middle."""
    opened, closed = (sum(map(text.count, signs)) for signs in ("([{", ")]}"))
    return opened == closed and "</" not in text and text[:1] not in "<>" and not TORN.search(text)


def _without_text(text: str) -> str:
    return re.sub(r"\\(?:text|mathrm)\b", "", text)
