"""Parses one value in a short piece of plain text: nothing in `angle B is`, 2√3 centimetres in `2\\sqrt{3} cm`.

The last step of reading. The text is cut into tokens; those of the value must stand together, with only words before and
after it, and form one complete expression. With `symbols`, the variables of a ground truth such as 90°-α, the value may
contain those letters too.

math_verify is not given the text itself because it is too lenient: it reads `2(3)` as 5, `0{2}{7}` as 9 and `2 3` as 5.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from hint_grpo.scoring.vocabulary import BOUND_BEFORE, CANDIDATE_WORD, CHANGING_WORD, Unit, match_unit

NO_SYMBOLS: frozenset[str] = frozenset()


class Unreadable(Exception):
    """The text is not one plain value: two numbers, an inequality, an expression with variables."""


@dataclass(frozen=True)
class Value:
    """A value, ready for comparison. `2\\sqrt{3} cm` has one part, no number, and the unit centimetre."""

    parts: tuple[str, ...]  # LaTeX for math_verify; one part, but n - 1 for a ratio of n terms
    number: Fraction | None = None  # the exact value, if it is a plain number
    unit: Unit | None = None


@dataclass(frozen=True)
class _Token:
    kind: str  # number, command, variable, operator, word, unit or other
    text: str
    spaced: bool  # whether white space stands before it; true at the start of the text
    unit: Unit | None = None


def parse_value(text: str, symbols: frozenset[str] = NO_SYMBOLS) -> Value | None:
    r"""The value in `text`; None if it has no number, or if a word makes it another value or a bound.

    parse_value(r"AB is 2\sqrt{3} cm") is Value((r"2*\sqrt {3}",), None, centimetre); "more than 65" gives None. `symbols`: the
    variables that the value may contain. Raises Unreadable if the text is something other than one value.
    """
    tokens = _without_single_bar(_tokens(text, symbols))
    mathematical = [i for i, token in enumerate(tokens) if token.kind in ("number", "command", "variable")]
    if not mathematical:
        return None
    words = {token.text.lower() for token in tokens if token.kind == "word"}
    if any(map(CANDIDATE_WORD.fullmatch, words)):
        raise Unreadable(text)
    if any(map(CHANGING_WORD.fullmatch, words)):
        return None
    before, core = _core(tokens, mathematical[0], mathematical[-1])
    if BOUND_BEFORE.search(" ".join(token.text for token in before)):
        return None
    return _value(core)


# ----------------------------------------------------------------------------------------------------
# Text to tokens: "B is 2\sqrt{3} cm" to the words B, is; number 2; command \sqrt; operator {; number 3; operator }; unit cm

_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<command>\\(?:frac|sqrt(?:\[[0-9]+\])?|pi|sin|cos|tan|cot)(?![A-Za-z]))"
    r"|(?P<operator>[-+*/^(){}\[\]%|])"
    r"|(?P<word>\\?[A-Za-z]+|[\u3400-\u9fff]+)"
    r"|(?P<other>\S)"
)
_LONGEST_PRODUCT = 3  # letters: "abc" may be a product of the variables a, b and c


def _tokens(text: str, symbols: frozenset[str]) -> list[_Token]:
    """The tokens of `text`. A unit is recognised only after a value, variables only among `symbols`."""
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        start = at
        while start < len(text) and text[start].isspace():
            start += 1
        if start == len(text):
            break
        spaced = start > at or start == 0
        match = _TOKEN.match(text, start)
        assert match is not None  # `other` matches any character
        variables = _variables(match, spaced, symbols) if match["word"] else []
        if not variables and tokens and _ends_value(tokens[-1]) and (found := match_unit(text, start)):
            unit, at = found
            tokens.append(_Token("unit", text[start:at], spaced, unit))
            continue
        at = match.end()
        tokens += [_Token("variable", name, spaced and i == 0) for i, name in enumerate(variables)] or [
            _Token(str(match.lastgroup), match[0], spaced)
        ]
    return tokens


def _variables(word: re.Match[str], spaced: bool, symbols: frozenset[str]) -> list[str]:
    """The variables of which a word consists: "ab" is a times b. The article in "a cube" is not a variable."""
    if word[0] in symbols:
        is_article = spaced and word[0] in ("a", "A") and re.compile(r"\s+[A-Za-z]{2,}").match(word.string, word.end())
        return [] if is_article else [word[0]]
    return list(word[0]) if len(word[0]) <= _LONGEST_PRODUCT and symbols.issuperset(word[0]) else []


def _ends_value(token: _Token) -> bool:
    return token.kind in ("number", "unit", "variable") or token.text in (")", "}", "]", "|", "\\pi")


def _without_single_bar(tokens: list[_Token]) -> list[_Token]:
    """One bar is left over from a table; two are an absolute value."""
    bars = [token for token in tokens if token.text == "|"]
    return [token for token in tokens if token.text != "|"] if len(bars) == 1 else tokens


# ----------------------------------------------------------------------------------------------------
# Tokens to the value's tokens: its `core`, without the words around it

# Punctuation, quotes and currency signs that may stand around a value.
_IGNORED = frozenset("'\"?!,.;&#@$¥€£_")
# Directly before a number: "sin 5" and "\\log 6" are other values than 5 and 6.
_FUNCTION = re.compile(
    r"\\[A-Za-z]+|(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|exp|min|max|gcd|lcm", re.IGNORECASE
)


def _core(tokens: list[_Token], first: int, last: int) -> tuple[list[_Token], list[_Token]]:
    """The tokens before the value, and those of the value, from its sign or opening bracket to its unit.

    `first`, `last`: positions of the first and the last number, command or variable. Unreadable if words stand inside.
    """
    while first > 0 and tokens[first - 1].kind == "operator" and tokens[first - 1].text in "-+([{|":
        first -= 1
    while last + 1 < len(tokens) and tokens[last + 1].kind in ("operator", "unit"):
        last += 1
    before, core, after = tokens[:first], tokens[first : last + 1], tokens[last + 1 :]
    if any(token.kind not in ("word",) and token.text not in _IGNORED for token in before + after):
        raise Unreadable("something other than words around the value")
    if any(token.kind in ("word", "other") for token in core):
        raise Unreadable("words or signs inside the value")
    if before and before[-1].kind == "word" and _FUNCTION.fullmatch(before[-1].text):
        raise Unreadable("a function of the value, or a command that is not known")
    if before and before[-1].kind == "word" and _belongs_to(before[-1], core):
        raise Unreadable("a variable before the value")
    if after and after[0].kind == "word" and _is_variable(after[0]):
        raise Unreadable("a variable after the value")
    return before, core


def _belongs_to(word: _Token, core: list[_Token]) -> bool:
    """Whether a word is a variable of the value: x5 and x - 5 are expressions, "B 65" and "angle -65" are name and value."""
    if word.text[0] > "\u3400":
        return core[0].text == "+"
    glued = not core[0].spaced
    signed = core[0].text in ("-", "+")
    return glued or (signed and len(core) > 1 and core[1].spaced)


def _is_variable(word: _Token) -> bool:
    """Whether a word after the value is a variable: 2x and 2 x are expressions, "5 cubes" and "5个" are counts."""
    ascii_word = word.text[0] < "\u3400"
    return ascii_word and (not word.spaced or len(word.text) == 1 or word.text.isupper() or word.text[0] == "\\")


# ----------------------------------------------------------------------------------------------------
# The value's tokens to a Value


def _value(core: list[_Token]) -> Value:
    # Units and percent signs at the end, also around brackets: "(65°)", "(2 + 3) cm".
    unit: Unit | None = None
    percent = False
    core = _without_brackets(core)
    while core and (core[-1].kind == "unit" or core[-1].text == "%"):
        percent = percent or core[-1].text == "%"
        unit = unit or core[-1].unit
        core = _without_brackets(core[:-1])
    core, unit = _without_inner_units(core, unit)
    factors = _written_out(core)
    latex = _as_latex(factors)
    number = evaluate(factors)
    if percent:  # 50 % is 0.5
        latex = rf"\frac{{{latex}}}{{100}}"
        number = None if number is None else number / 100
    return Value((latex,), number, unit)


def _as_latex(factors: list[str]) -> str:
    """Joined; a command is followed by a space, and bars open and close in turn."""
    bars = itertools.cycle(("\\left|", "\\right|"))
    texts = (next(bars) if text == "|" else text for text in factors)
    return "".join(f"{text} " if text[0] == "\\" and text[-1] not in "]|" else text for text in texts)


def _without_inner_units(core: list[_Token], unit: Unit | None) -> tuple[list[_Token], Unit | None]:
    """Takes the unit out of a sum: 180° - 115° is 65°, 2 cm + 3 cm is 5 cm. Unreadable for a product such as 2 cm * 3 cm."""
    inner = [token.unit for token in core if token.kind == "unit"]
    if any(token.text == "%" for token in core) or len({*inner, unit} - {None}) > 1:
        raise Unreadable("a unit inside the value")
    if not inner:
        return core, unit
    products = any(token.text in ("*", "/", "^") or token.kind == "command" for token in core)
    is_angle = inner[0] is not None and inner[0].dimension == (("angle", 1),)
    if products and not (is_angle and len(inner) == 1 and unit is None):
        raise Unreadable("a product of units")
    return [token for token in core if token.kind != "unit"], inner[0]


def _without_brackets(core: list[_Token]) -> list[_Token]:
    """(65) and [65] become 65."""
    while len(core) > 2 and core[0].text + core[-1].text in ("()", "[]", "{}") and _closes_at_end(core):
        core = core[1:-1]
    return core


def _closes_at_end(core: list[_Token]) -> bool:
    """Whether the first bracket closes at the last token: not so in (2)(3)."""
    depth = 0
    for i, token in enumerate(core):
        depth += (token.text in "([{") - (token.text in ")]}")
        if depth == 0:
            return i == len(core) - 1
    return False


# The shape of an expression has one letter per token: n for a number, a for any other atom (π, a variable); r, f and t for
# root, fraction and sine. 2\sqrt{3}+\pi is "nr{n}+a". The innermost bracket, root or fraction becomes an atom in turn:
# "na+a". The sign of a product may be omitted before an atom (2√3, 2π, 3(√3+1)), never before a number (2 3).
_SUM = r"[-+]?[na](?:[-+*/][-+]?[na]|a)*"
_INNERMOST = re.compile(
    rf"f\{{{_SUM}\}}\{{{_SUM}\}}|r\{{{_SUM}\}}|\({_SUM}\)|\|{_SUM}\||t[na]|(?P<base>[na])\^(?:\{{{_SUM}\}}|a)"
)
_SHAPES = {"\\pi": "a", "\\frac": "f", "\\sin": "t", "\\cos": "t", "\\tan": "t", "\\cot": "t"}


def _is_expression(core: list[_Token]) -> bool:
    """Whether the tokens form one complete expression: replaces innermost brackets by atoms until one sum is left."""
    shape = "".join(map(_shape, core))
    while (folded := _INNERMOST.sub(lambda match: match["base"] or "a", shape)) != shape:
        shape = folded
    return re.fullmatch(_SUM, shape) is not None


def _shape(token: _Token) -> str:
    """The letter of a token; operators and brackets stand for themselves."""
    if token.kind == "number":
        return "n"
    if token.kind == "variable":
        return "a"
    return _SHAPES.get(token.text) or token.text.replace("\\sqrt", "r")[0]


def _written_out(core: list[_Token]) -> list[str]:
    r"""The tokens' texts with all products written out: 3/2√3 is 3/2*√3, from left to right, as people read it.

    Raises Unreadable if the tokens are not one complete expression.
    """
    if not core or not _is_expression(core):
        raise Unreadable("not one expression")
    out: list[str] = []
    bars = 0  # so far; an odd one opens an absolute value, an even one closes it
    for i, token in enumerate(core):
        bars += token.text == "|"
        begins_factor = (
            token.text == "(" or token.kind in ("command", "variable") or (token.text == "|" and bars % 2 == 1)
        )
        before = core[i - 1] if i > 0 else None
        ends_factor = before is not None and (
            before.kind in ("number", "variable")
            or before.text in (")", "}", "\\pi")
            or (before.text == "|" and (bars - (token.text == "|")) % 2 == 0)
        )
        if begins_factor and ends_factor and not _is_mixed_number(core, i):
            out.append("*")
        out.append(_plain_number(token.text) if token.kind == "number" else token.text)
    return out[1:] if out[0] == "+" else out


def _is_mixed_number(core: list[_Token], i: int) -> bool:
    r"""Whether the fraction at `i` belongs to the number before it: 2\frac{1}{2} is two and a half, 2\frac{3}{2} a product."""
    texts = [token.text for token in core[i - 1 : i + 7]]
    if len(texts) < 8 or texts[1:3] != ["\\frac", "{"] or texts[4:6] != ["}", "{"] or texts[7] != "}":
        return False
    whole, above, below = texts[0], texts[3], texts[6]
    return whole.isdigit() and above.isdigit() and below.isdigit() and int(above) < int(below)


def _plain_number(text: str) -> str:
    """007 becomes 7 and .5 becomes 0.5."""
    whole, dot, decimals = text.partition(".")
    return (whole.lstrip("0") or "0") + dot + decimals


# ----------------------------------------------------------------------------------------------------
# Exact arithmetic with plain numbers: 180-115, \frac{144}{2}, (2+3)*|-5|. Roots, powers and π are left to sympy.

# Deeper or longer expressions are left to the worker process, which can be killed.
_DEEPEST = 12
_MOST_TOKENS = 60


class _NotArithmetic(Exception):
    """The expression contains something that is not evaluated here."""


def evaluate(tokens: Sequence[str]) -> Fraction | None:
    """The value of an expression: evaluate(["2", "*", "(", "3", "+", "4", ")"]) is 14.

    None if it is not plain arithmetic, too deep, too long, incomplete, or a division by zero. Products must be written out.
    """
    if len(tokens) > _MOST_TOKENS or any(len(token) > _MOST_TOKENS for token in tokens):
        return None
    try:
        value, end = _sum(tokens, 0, 0)
    except (_NotArithmetic, ZeroDivisionError):
        return None
    return value if end == len(tokens) else None


# Recursive descent, a sum of products of atoms. Each returns the value and the position after it.


def _sum(tokens: Sequence[str], at: int, depth: int) -> tuple[Fraction, int]:
    if depth > _DEEPEST:
        raise _NotArithmetic
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
            raise _NotArithmetic
        return (abs(value) if token == "|" else value), end + 1
    if token == "\\frac":
        above, end = _atom(tokens, at + 1, depth + 1)
        below, end = _atom(tokens, end, depth + 1)
        return above / below, end
    raise _NotArithmetic


# ----------------------------------------------------------------------------------------------------
# Rounding


MANY_DECIMALS = 500


def rounds_to(value: Value, rounded: Value) -> bool | None:
    """Whether `value` equals `rounded` or rounds to it: 17.32 to 17.3. None if one of them is not a plain number."""
    if value.number is None or rounded.number is None:
        return None
    return abs(value.number - rounded.number) <= Fraction(1, 2 * 10 ** decimals(rounded))


def decimals(value: Value) -> int:
    """The decimals of a number: 2 for 17.32. Very many if it is not written as a plain number: nothing rounds to it."""
    whole = re.fullmatch(r"-?[0-9]+(?:\.([0-9]+))?", value.parts[0])
    return len(whole[1] or "") if whole else MANY_DECIMALS
