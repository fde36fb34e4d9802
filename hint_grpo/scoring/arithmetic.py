"""Exact value of an expression of plain numbers: 180-115, \\frac{144}{2}, (2+3)*|-5|. Roots, powers and π are sympy's."""

from collections.abc import Sequence
from fractions import Fraction

# Deeper nesting is left to the worker process, which may be killed.
_DEEPEST = 12
_MOST_TOKENS = 60


class _Beyond(Exception):
    """Something that is not evaluated here."""


def evaluate(tokens: Sequence[str]) -> Fraction | None:
    """The value of tokens that form one complete expression, with products written out; None where they hold more."""
    if len(tokens) > _MOST_TOKENS or any(len(token) > _MOST_TOKENS for token in tokens):
        return None
    try:
        value, end = _sum(tokens, 0, 0)
    except (_Beyond, ZeroDivisionError):
        return None
    return value if end == len(tokens) else None


def _sum(tokens: Sequence[str], at: int, depth: int) -> tuple[Fraction, int]:
    if depth > _DEEPEST:
        raise _Beyond
    sign = -1 if tokens[at : at + 1] == ["-"] else 1
    at += tokens[at : at + 1] in (["-"], ["+"])
    value, at = _product(tokens, at, depth)
    value *= sign
    while at < len(tokens) and tokens[at] in ("+", "-"):
        term, end = _product(tokens, at + 1, depth)
        value, at = (value + term if tokens[at] == "+" else value - term), end
    return value, at


def _product(tokens: Sequence[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _atom(tokens, at, depth)
    while at < len(tokens) and tokens[at] in ("*", "/"):
        times = tokens[at] == "*"
        sign = -1 if tokens[at + 1 : at + 2] == ["-"] else 1
        at += 1 + (tokens[at + 1 : at + 2] in (["-"], ["+"]))
        factor, at = _atom(tokens, at, depth)
        value = value * factor * sign if times else value / factor * sign
    return value, at


def _atom(tokens: Sequence[str], at: int, depth: int) -> tuple[Fraction, int]:
    token = tokens[at] if at < len(tokens) else ""
    if token[:1].isdigit():
        return Fraction(token), at + 1
    if token in ("(", "|", "{"):
        value, end = _sum(tokens, at + 1, depth + 1)
        if tokens[end : end + 1] != [{"(": ")", "|": "|", "{": "}"}[token]]:
            raise _Beyond
        return (abs(value) if token == "|" else value), end + 1
    if token == "\\frac":
        above, end = _atom(tokens, at + 1, depth + 1)
        below, end = _atom(tokens, end, depth + 1)
        return above / below, end
    raise _Beyond
