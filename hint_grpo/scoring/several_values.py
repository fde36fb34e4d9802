"""Reads several values from one text: a list such as "40° or 100°", a point or an interval.

    40° or 100°     the values in any order            x = 30, y = 60    each value under its name, or in this order
    (3,-4)          a point: order and brackets count  [0, 2]            an interval: the same

Used if the ground truth holds several values. An answer is read with the ground truth's variables (`symbols`), so that
"2a and 3a" gives two values.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from hint_grpo.scoring.expressions import NO_SYMBOLS, Unreadable, Value, parse_value
from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.remarks import without_labels_and_remarks
from hint_grpo.scoring.single_value import (
    MAX_CHARACTERS,
    Clause,
    conclusion_then_whole,
    main_clauses,
)
from hint_grpo.scoring.wording import denies_or_changes

# More values than any question asks for; the number of comparisons grows with its square.
MOST_VALUES = 8

# A bracketed group, with braces inside: "(3, -4)", "[0, \frac{1}{2}]", "{40, 100}".
_GROUP = re.compile(r"(?P<opening>[(\[{])(?P<inside>[^()\[\]{}]*(?:\{[^{}]*\}[^()\[\]{}]*)*)(?P<closing>[)\]}])")
# The name of a value: "x = 3", "angle B is 3", "x_1 = 3".
_NAME = re.compile(r"\s*(?:angle\s+)?([A-Za-z]{1,4}(?:_?\{?[0-9]\}?)?'?)\s*(?:=|≈|\b(?:is|are)\b|为|是)\s*\S")
# "angle 1 = 30": the 1 is a name.
_NUMBERED_ANGLE = re.compile(r"\bangle\s*#?([1-9])(?=\s*(?:=|≈|:|\bis\b|为|是))", re.IGNORECASE)
_MATHEMATICS = re.compile(r"[0-9]|\\(?:pi|sqrt|frac)")


@dataclass(frozen=True)
class SeveralValues:
    """Two or more values. `names`: of all values, or (). `brackets`: "()" for a point, "" for a list."""

    values: tuple[Value, ...]
    names: tuple[str, ...] = ()
    brackets: str = ""


@lru_cache(maxsize=4096)
def read_several_values(text: str, symbols: frozenset[str] = NO_SYMBOLS) -> SeveralValues | None:
    """The values in `text`, 2 to MOST_VALUES; None if there are fewer or more, or if the text is unclear.

    `symbols`: variables that the values may contain.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    plain = re.sub(r"(?i)\b(?:either|both|respectively)\b", " ", plain_markup(text))
    try:
        if group := _read_group(plain, symbols):
            return group
        plain = _NUMBERED_ANGLE.sub(_angle_with_letters, _without_braces(plain))
        for part in conclusion_then_whole(without_labels_and_remarks(plain)):
            if found := _read_list(main_clauses(part, symbols)):
                return found
    except Unreadable:
        return None
    return None


def _angle_with_letters(label: re.Match[str]) -> str:
    """Angle 1 becomes angle aa: the number is not a value, and the name is needed to match the values."""
    return f"angle {2 * chr(96 + int(label[1]))}"


def _without_braces(plain: str) -> str:
    """{40, 100} becomes 40, 100."""
    group = _GROUP.search(plain)
    if group is None or group["opening"] != "{" or "," not in group["inside"]:
        return plain
    return f"{plain[: group.start()]} {group['inside']} {plain[group.end() :]}"


def _read_group(plain: str, symbols: frozenset[str]) -> SeveralValues | None:
    """A point or an interval: (3, -4), "the point is P(3,-4)"."""
    groups = [
        match for match in _GROUP.finditer(plain) if re.search(r"[,;]", match["inside"]) and match["opening"] != "{"
    ]
    if len(groups) != 1:
        return None
    (group,) = groups
    around = plain[: group.start()] + " " + plain[group.end() :]
    if (
        _MATHEMATICS.search(around)
        or denies_or_changes(around)
        # an operation on the group: -(3, 4), (3, 4)/2
        or re.search(r"[-+*/^<>≤≥≠]\s*$", plain[: group.start()])
        or re.match(r"\s*[*/^]", plain[group.end() :])
    ):
        return None
    values = [parse_value(term, symbols) for term in re.split(r"[,;]", group["inside"])]
    known = tuple(value for value in values if value is not None)
    if len(known) != len(values) or not 2 <= len(known) <= MOST_VALUES:
        return None
    return SeveralValues(known, brackets=group["opening"] + group["closing"])


def _read_list(clauses: list[Clause]) -> SeveralValues | None:
    """One value per clause; clauses of words alone are skipped."""
    with_value = [clause for clause in clauses if clause.reading]
    unclear = any(_MATHEMATICS.search(clause.text) for clause in clauses if not clause.reading)
    if unclear or not 2 <= len(with_value) <= MOST_VALUES:
        return None
    names = tuple(name[1] for clause in with_value if (name := _NAME.match(clause.text)))
    letters = {re.sub(r"[^A-Za-z]", "", name) for name in names}  # x1 and x2 are two values of one unknown
    values = tuple(clause.reading.value for clause in with_value if clause.reading)
    return SeveralValues(values, names if len(letters) == len(with_value) else ())


def paired_values(gold: SeveralValues, answer: SeveralValues) -> list[tuple[Value, Value]] | None:
    """The pairs (ground truth, answer) that must be equal.

    [] if the values may come in any order; None if the two cannot match: other number, names or brackets.
    """
    values = answer.values
    if len(gold.values) != len(values):
        return None
    if gold.brackets:
        # A point may lack its brackets, an interval may not.
        if answer.brackets not in (gold.brackets, "" if gold.brackets == "()" else gold.brackets):
            return None
        if answer.names:  # "y = -4, x = 3" for (3, -4)
            values = tuple(
                value for _, value in sorted(zip(answer.names, values, strict=True), key=lambda pair: pair[0])
            )
        return [*zip(gold.values, values, strict=True)]
    if answer.brackets == "()" and not gold.names:
        return None
    if not gold.names:
        return []
    if answer.names:
        if {*gold.names} != {*answer.names}:
            return None
        by_name = dict(zip(answer.names, values, strict=True))
        values = tuple(by_name[name] for name in gold.names)
    return [*zip(gold.values, values, strict=True)]
