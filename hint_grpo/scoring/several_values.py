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
from hint_grpo.scoring.single_value import (
    MAX_CHARACTERS,
    Clause,
    conclusion_then_whole,
    main_clauses,
    without_labels_and_remarks,
)
from hint_grpo.scoring.vocabulary import denies_or_changes, match_unit

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


# ----------------------------------------------------------------------------------------------------
# Ground truths with variables: which variables they have, and whether an answer states the same equation or inequality.
#
# 2a   90°-α                 read as a value by `single_value.py`, with the letters of `symbols_of` as variables
# y = 3x + 2   x > 3         found in the answer by `stated_formula`, compared as `possible_equalities` lists

RELATION = re.compile(r"[=<>≤≥≠≈]|\\in(?![A-Za-z])")
_LETTERS = re.compile(r"\\?[A-Za-z]+")  # a word or a command: "area", "\alpha"
_FUNCTIONS = frozenset({"sin", "cos", "tan", "cot", "log", "ln"})
_COMMANDS = frozenset({"\\frac", "\\sqrt", "\\pi", "\\sin", "\\cos", "\\tan", "\\cot"})


def symbols_of(gold: str) -> frozenset[str]:
    r"""The variables of a ground truth: single letters, each letter of a pair, Greek letters; empty if it has longer words.

    "2ab + \alpha" has a, b and \alpha; "5 cm" has none, because cm is a unit.
    """
    plain = plain_markup(gold[:MAX_CHARACTERS])
    symbols: set[str] = set()
    for word in _LETTERS.finditer(plain):
        unit = match_unit(plain, word.start())
        if word[0] in _COMMANDS or (len(word[0]) > 1 and unit is not None and unit[1] >= word.end()):
            continue
        if word[0][0] == "\\":
            symbols.add(word[0])
        elif len(word[0]) <= 2:
            symbols |= {*word[0]}
        else:
            return frozenset()
    return frozenset(symbols)


def stated_formula(answer: str, symbols: frozenset[str]) -> str | None:
    """The formula in an answer, without the words around it: y = 3x + 2 in "The line is y = 3x + 2."

    None if words stand inside it too, or deny it. `symbols`: the variables of the ground truth.
    """
    plain = plain_markup(answer[:MAX_CHARACTERS])
    if len(answer) > MAX_CHARACTERS or denies_or_changes(plain):
        return None
    words = [
        word
        for word in _LETTERS.finditer(plain)
        if word[0][0] != "\\" and word[0] not in _FUNCTIONS and not symbols.issuperset(word[0])
    ]
    # Cuts words off at the start, then at the end.
    start, end = 0, len(plain)
    for word in words:
        if not plain[start : word.start()].strip(" ,:;"):
            start = word.end()
    for word in reversed(words):
        if word.start() >= start and not plain[word.end() : end].strip(" .,;"):
            end = word.start()
    inside = any(start <= word.start() < end for word in words)
    return None if inside else plain[start:end].strip(" .,;:")


def possible_equalities(gold: str, answer: str) -> list[list[tuple[str, str]]]:
    """The ways in which two formulas can be the same; one way is a list of pairs (gold, answer) that must be equal.

    Equations: both sides equal, swapped, or rearranged. math_verify alone compares only the right sides and accepts 4 for
    x^2+y^2=4. Inequalities and intervals are left to math_verify as they are.
    """
    gold_sides, answer_sides = _sides(gold), _sides(answer)
    if gold_sides is None:
        return [[(gold, answer)]] if answer_sides is None else []
    left, right = gold_sides
    if answer_sides is None:
        # "3x + 2" for y = 3x + 2
        return [[(right, answer)]] if re.fullmatch(r"\s*[A-Za-z]\s*", left) and not RELATION.search(answer) else []
    difference = f"({left})-({right})"
    return [
        [(left, answer_sides[0]), (right, answer_sides[1])],
        [(left, answer_sides[1]), (right, answer_sides[0])],
        [(difference, f"({answer_sides[0]})-({answer_sides[1]})")],
        [(difference, f"({answer_sides[1]})-({answer_sides[0]})")],
    ]


def _sides(formula: str) -> tuple[str, str] | None:
    """The two sides of an equation; None for an inequality, or if there is more than one relation."""
    left, _, right = formula.partition("=")
    return (left, right) if left.strip() and right.strip() and len(RELATION.findall(formula)) == 1 else None
