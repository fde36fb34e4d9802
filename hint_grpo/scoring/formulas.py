"""Ground truths with variables: which variables they have, and whether an answer states the same equation or inequality.

2a   90°-α                 read as a value by `single_value.py`, with the letters of `symbols_of` as variables
y = 3x + 2   x > 3         found in the answer by `stated_formula`, compared as `possible_equalities` lists
"""

import re

from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.single_value import MAX_CHARACTERS
from hint_grpo.scoring.units import match_unit
from hint_grpo.scoring.wording import denies_or_changes

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
