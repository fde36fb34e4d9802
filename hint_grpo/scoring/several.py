"""Ground truths that are not one value: several values, a point, a formula with variables.

    40° or 100°          both values, in any order          x = 30, y = 60       each under its name, or in this order
    (3,-4)   [0, 2]      the same brackets, in this order   2a   90°-α           the variables' letters count as values

An answer is read with the ground truth's letters in mind, so that "The area is 2a." gives 2a and not a word.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.reading import MAX_CHARACTERS, Clause, conclusions, main_clauses, undressed
from hint_grpo.scoring.units import match_unit
from hint_grpo.scoring.values import NO_SYMBOLS, Unreadable, Value, read_value
from hint_grpo.scoring.wording import takes_back

# More values than any question asks for; comparisons of a list grow with its square.
MOST_VALUES = 8

_GROUP = re.compile(r"(?P<opening>[(\[{])(?P<inside>[^()\[\]{}]*(?:\{[^{}]*\}[^()\[\]{}]*)*)(?P<closing>[)\]}])")
_NAME = re.compile(r"\s*(?:angle\s+)?([A-Za-z]{1,4}(?:_?\{?[0-9]\}?)?'?)\s*(?:=|≈|\b(?:is|are)\b|为|是)\s*\S")
_LETTERS = re.compile(r"\\?[A-Za-z]+")
_FUNCTIONS = frozenset({"sin", "cos", "tan", "cot", "log", "ln"})
_COMMANDS = frozenset({"\\frac", "\\sqrt", "\\pi", "\\sin", "\\cos", "\\tan", "\\cot"})
RELATION = re.compile(r"[=<>≤≥≠≈]|\\in(?![A-Za-z])")
_LABELLED = re.compile(r"\bangle\s*#?([1-9])(?=\s*(?:=|≈|:|\bis\b|为|是))", re.IGNORECASE)
_MORE = re.compile(r"[0-9]|\\(?:pi|sqrt|frac)")


@dataclass(frozen=True)
class Several:
    """Values with their names where they have some; `brackets` is "()" for a point, "" for a list in any order."""

    values: tuple[Value, ...]
    names: tuple[str, ...] = ()
    brackets: str = ""


@lru_cache(maxsize=4096)
def read_several(text: str, symbols: frozenset[str] = NO_SYMBOLS) -> Several | None:
    """The two or more values that `text` gives; None where it gives another number of them, or something unclear."""
    if len(text) > MAX_CHARACTERS:
        return None
    plain = re.sub(r"(?i)\b(?:either|both|respectively)\b", " ", plain_markup(text))
    try:
        if group := _read_group(plain, symbols):
            return group
        for part in conclusions(undressed(_LABELLED.sub(_lettered, _without_braces(plain)))):
            if found := _read_list(main_clauses(part, symbols)):
                return found
    except Unreadable:
        return None
    return None


def _lettered(label: re.Match[str]) -> str:
    """Angle 1 as angle aa: a number that names is no value, and the name is needed."""
    return f"angle {2 * chr(96 + int(label[1]))}"


def _without_braces(plain: str) -> str:
    """{40, 100} is 40, 100."""
    group = _GROUP.search(plain)
    if group is None or group["opening"] != "{" or "," not in group["inside"]:
        return plain
    return f"{plain[: group.start()]} {group['inside']} {plain[group.end() :]}"


def _read_group(plain: str, symbols: frozenset[str]) -> Several | None:
    """A point or an interval: (3, -4), "the point is P(3,-4)"."""
    groups = [
        match for match in _GROUP.finditer(plain) if re.search(r"[,;]", match["inside"]) and match["opening"] != "{"
    ]
    if len(groups) != 1:
        return None
    (group,) = groups
    around = plain[: group.start()] + " " + plain[group.end() :]
    if (
        _MORE.search(around)
        or takes_back(around)
        or re.search(r"[-+*/^<>≤≥≠]\s*$", plain[: group.start()])
        or re.match(r"\s*[*/^]", plain[group.end() :])
    ):
        return None
    values = [read_value(term, symbols) for term in re.split(r"[,;]", group["inside"])]
    known = tuple(value for value in values if value is not None)
    if len(known) != len(values) or not 2 <= len(known) <= MOST_VALUES:
        return None
    return Several(known, brackets=group["opening"] + group["closing"])


def _read_list(clauses: list[Clause]) -> Several | None:
    said = [clause for clause in clauses if clause.reading]
    unclear = any(_MORE.search(clause.text) for clause in clauses if not clause.reading)
    if unclear or not 2 <= len(said) <= MOST_VALUES:
        return None
    names = tuple(name[1] for clause in said if (name := _NAME.match(clause.text)))
    letters = {re.sub(r"[^A-Za-z]", "", name) for name in names}  # x1 and x2 are two values of one name
    values = tuple(clause.reading.value for clause in said if clause.reading)
    return Several(values, names if len(letters) == len(said) else ())


def pairs(gold: Several, answer: Several) -> list[tuple[Value, Value]] | None:
    """The values that must be equal, (ground truth, answer); [] where any order will do; None where they cannot match."""
    values = answer.values
    if len(gold.values) != len(values):
        return None
    if gold.brackets:
        if answer.brackets not in (gold.brackets, "" if gold.brackets == "()" else gold.brackets):
            return None
        if answer.names:  # x = 3, y = -4
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


def symbols_of(gold: str) -> frozenset[str]:
    """The variables of a formula: letters alone or in pairs, and Greek ones; empty where it holds longer words."""
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


def formula_in(answer: str, symbols: frozenset[str]) -> str | None:
    """The equation or inequality that an answer states, without the words around it; None where words reach into it."""
    plain = plain_markup(answer[:MAX_CHARACTERS])
    if len(answer) > MAX_CHARACTERS or takes_back(plain):
        return None
    words = [
        word
        for word in _LETTERS.finditer(plain)
        if word[0][0] != "\\" and word[0] not in _FUNCTIONS and not symbols.issuperset(word[0])
    ]
    start, end = 0, len(plain)
    for word in words:
        if not plain[start : word.start()].strip(" ,:;"):
            start = word.end()
    for word in reversed(words):
        if word.start() >= start and not plain[word.end() : end].strip(" .,;"):
            end = word.start()
    inside = any(start <= word.start() < end for word in words)
    return None if inside else plain[start:end].strip(" .,;:")


def equations(gold: str, answer: str) -> list[list[tuple[str, str]]]:
    """The ways in which two formulas can be the same, as pairs that must be equal: side by side, or rearranged.

    math_verify itself compares right sides alone: to it 4 is x^2+y^2=4. Inequalities and intervals it is given whole.
    """
    sides, said = _sides(gold), _sides(answer)
    if sides is None:
        return [[(gold, answer)]] if said is None else []
    left, right = sides
    if said is None:
        return [[(right, answer)]] if re.fullmatch(r"\s*[A-Za-z]\s*", left) and not RELATION.search(answer) else []
    difference = f"({left})-({right})"
    return [
        [(left, said[0]), (right, said[1])],
        [(left, said[1]), (right, said[0])],
        [(difference, f"({said[0]})-({said[1]})")],
        [(difference, f"({said[1]})-({said[0]})")],
    ]


def _sides(formula: str) -> tuple[str, str] | None:
    left, _, right = formula.partition("=")
    return (left, right) if left.strip() and right.strip() and len(RELATION.findall(formula)) == 1 else None
