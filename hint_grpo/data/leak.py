"""Does a hint already hold the final answer? Then the model only has to copy it."""

import re

NUMBER = re.compile(r"(?<![\d.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\d]|[.,]\d)")
MORE_THAN_A_NUMBER = re.compile(r"[\\√π/:^]")
LAYOUT = re.compile(r"[\s$]|\\[()\[\],;!]|\\(?:left|right|displaystyle)\b")


def holds_answer(hint: str, solution: str) -> bool:
    """Whether the answer stands in the hint: as a number where it is one ("65°" in "= 65.0"), else as it is written.

    An upper bound: a number that stands there for another reason ("2" in "the 2 sides") counts too.
    """
    numbers = NUMBER.findall(solution)
    if len(numbers) == 1 and not MORE_THAN_A_NUMBER.search(solution):
        return _value(numbers[0]) in map(_value, NUMBER.findall(hint))
    return bool(solution.strip()) and LAYOUT.sub("", solution) in LAYOUT.sub("", hint)


def _value(number: str) -> str:
    """One spelling for equal numbers, of any length: "065.0" and "65" are "65"."""
    whole, _, decimals = number.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
