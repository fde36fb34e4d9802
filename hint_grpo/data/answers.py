"""From a conclusion, which may be a letter, a value or a sentence, to the value a completion is compared with.

"C"  "(C)"  "The answer is C."  "C. 40°"       -> the letter C (its option's text is the value)
"40°"  "x = 40"  "The angle is 40°."           -> "40°", "40", "40°"
"There are 5 red cubes in the picture."        -> "5", the only number
"A has 3 and B has 5 items."                   -> None: a person could not tell either
"""

import re

LETTER_ALONE = re.compile(r"[(\uff08]?\s*([A-H])\s*[)\uff09]?\s*[.:。]?")
LETTER_WITH_TEXT = re.compile(r"[(\uff08]?([A-H])(?:[)\uff09][.:\uff1a]?|[.:\uff0e\uff1a、])\s*(\S.*)", re.DOTALL)
LETTER_IN_SENTENCE = re.compile(
    r"(?:\b(?i:answer|option|choice)\b(?:\s+(?i:is|would\s+be|must\s+be))?|答案[是为]?|选择?)\s*[:\uff1a]?\s*(?i:option\s+|choice\s+)?"
    r"\**[(\uff08]?([A-H])[)\uff09]?\**(?=\s*(?:[.),;:\uff0c\uff1a。]|$))"
)
NUMBER_SIGN = re.compile(r"[\d½⅓⅔¼¾⅕⅙⅛⅜⅝⅞π]|\\pi\b")
LABEL = re.compile(r"(?:∠|\\angle|\b(?:angle|figure|fig\.|point|line|triangle))\s*\d+\b", re.IGNORECASE)
ANSWER_IS = re.compile(
    r"\banswer\b(?:\s+is|\s*:)?(?:\s+that)?\s*:?\s*(?P<value>.+)$|答案[是为]?[:\uff1a]?\s*(?P<wert>.+)$", re.I | re.S
)
SAYS = re.compile(
    r"\b(?:is|are|was|were|be|equals?|measures?)\b(?:\s+(?:to|equal\s+to|approximately|about))*|[=≈]|等于|[是为]", re.I
)
CONDITION = re.compile(r"\b(?:when|if|where|since|because|given|as)\b", re.IGNORECASE)
JOINED = re.compile(r"\b(?:or|and)\b|或|和", re.IGNORECASE)
NUMBER = re.compile(
    r"[-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*:\s*\d+(?:\.\d+)?)*\s*"
    r"(?:°|%|π|degrees?\b|(?:square\s+|cubic\s+)?(?:[cmk]m|m|km|centimeters?|meters?|units?)\b[²³]?)?"
)
# With one of these a lone number in a sentence is a part of the value and not the value: √3, 16\\pi, x^2, sin 30°, 2x.
MORE_THAN_A_NUMBER = re.compile(
    r"√|\\(?:sqrt|pi|[dtc]?frac|sin|cos|tan|cot|log|ln)(?![A-Za-z])|\^|\b(?:arc)?(?:sin|cos|tan|cot|log|ln)\b"
    r"|\d(?![cdkm]?m\b|[gmsh]\b)[A-Za-z](?![A-Za-z])"
)
WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}\b")
# What may stand beside a number in a value: units, names of points and variables ("AB = 5 cm"), "or" between two
# solutions.
VALUE_WORD = re.compile(
    r"[A-Z]{2,4}|or|and|pi|sqrt|[cmkd]?m|[cmk]?g|in|ft|sq|deg|degrees?|percent|square|cubic|units?|"
    r"(?:centi|milli|kilo|deci)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?"
)


def tidy(conclusion: str) -> str:
    """Without what only decorates: white space, bold, a formula's brackets around everything, the closing full stop."""
    text = " ".join(conclusion.replace("**", "").split()).strip("*_ ")
    text = text[:-1].rstrip() if text.endswith((".", "。")) else text
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            return inner.strip()
    return text


def has_number(text: str) -> bool:
    """Whether the text holds a number; the 1 of "angle 1" is a name."""
    return NUMBER_SIGN.search(LABEL.sub("", text)) is not None


def option_letter(conclusion: str) -> tuple[str, str] | None:
    """(letter, text that follows it) where the conclusion names an option; None where it does not."""
    text = _boxed(tidy(conclusion)) or tidy(conclusion)
    if match := LETTER_ALONE.fullmatch(text):
        return match[1], ""
    if match := LETTER_WITH_TEXT.fullmatch(text):
        return match[1], tidy(match[2])
    if matches := list(LETTER_IN_SENTENCE.finditer(text)):
        return matches[-1][1], ""
    return None


def conclusion_value(conclusion: str) -> str | None:
    """The value that a conclusion states; None where it states none, or several."""
    text = tidy(conclusion)
    if boxed := _boxed(text):
        return boxed
    if match := ANSWER_IS.search(text):
        text = tidy(match["value"] or match["wert"])
    # In "is 9 when r is 3" the second number is not what is asked for.
    said = CONDITION.split(text)[0]
    text = tidy(said).rstrip(" ,;，") if has_number(said) else text
    if len(NUMBER.findall(text)) > 1 and JOINED.search(text):
        return text if _is_value(text) else None
    stated = tidy(SAYS.split(text)[-1])
    if _is_value(stated):
        return stated
    if _is_value(text):
        return text
    if MORE_THAN_A_NUMBER.search(text):
        return None
    numbers = {number.strip() for number in NUMBER.findall(LABEL.sub("", text))}
    return numbers.pop() if len(numbers) == 1 else None


def _is_value(text: str) -> bool:
    """A number with only units and names around it: "40°", "3\\sqrt{2} cm", "x = 3 or x = 5"; not "5 red cubes"."""
    return has_number(text) and all(VALUE_WORD.fullmatch(word) for word in WORD.findall(text.replace("\\text", "")))


def _boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...}, its braces matched."""
    start = text.rfind("\\boxed{")
    depth = 0
    for position in range(start + len("\\boxed"), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : position].strip() or None
    return None
