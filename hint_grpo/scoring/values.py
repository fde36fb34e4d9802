"""One value in a short piece of plain text: `angle B is` nothing, `2\\sqrt{3} cm` the number 2√3 in centimetres.

The piece is cut into tokens; all that belongs to the value must stand together, with only words before and after.
math_verify forgives too much to be asked directly: it reads `2(3)` as 5, `0{2}{7}` as 9 and `2 3` as 5.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from hint_grpo.scoring.units import Unit, match_unit


class Unreadable(Exception):
    """Something stands there that is not one plain value: two numbers, an inequality, an expression with variables."""


@dataclass(frozen=True)
class Value:
    """A value as LaTeX for math_verify; `number` where it is a plain number; a ratio of n terms has n - 1 parts."""

    parts: tuple[str, ...]
    number: Fraction | None = None
    unit: Unit | None = None


@dataclass(frozen=True)
class _Token:
    kind: str  # number, command, operator, word, unit, other
    text: str
    spaced: bool  # white space before it
    unit: Unit | None = None


_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<command>\\(?:frac|sqrt(?:\[[0-9]+\])?|pi|sin|cos|tan|cot)(?![A-Za-z]))"
    r"|(?P<operator>[-+*/^(){}\[\]%])"
    r"|(?P<word>\\?[A-Za-z]+|[\u3400-\u9fff]+)"
    r"|(?P<other>\S)"
)
# With one of these beside a number, the number is not what is meant: "more than 65", "half of 130", "not 65".
_CHANGING_WORD = re.compile(
    "not|no|never|isn|cannot|less|more|least|most|greater|fewer|smaller|larger|bigger|over|under|above|below|than|half"
    "|twice|double|triple|thrice|hundreds?|thousands?|millions?|billions?|trillions?|dozens?"
    "|halves|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|times|minus|plus|divided|multiplied|squared|cubed"
    "|.*(?:不|大于|小于|超过|至少|至多|倍|半|加|减|乘|除).*"
)
# With one of these the text holds several candidates.
_CANDIDATE_WORD = re.compile("between|from|either|neither|both|respectively")
# Directly before a number: "sin 5" and "\\log 6" are other values than 5 and 6.
_FUNCTION = re.compile(
    r"\\[A-Za-z]+|(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|exp|min|max|gcd|lcm", re.IGNORECASE
)
_QUIET = frozenset("'\"?!,.;&#@$¥€£_|")  # left over from quoting, currency and punctuation


def read_value(text: str) -> Value | None:
    """The one value in `text`; None where it holds no number, or one that a word takes back; Unreadable as it says."""
    tokens = _tokens(text)
    mathematical = [i for i, token in enumerate(tokens) if token.kind in ("number", "command")]
    if not mathematical:
        return None
    words = {token.text.lower() for token in tokens if token.kind == "word"}
    if any(map(_CANDIDATE_WORD.fullmatch, words)):
        raise Unreadable(text)
    if any(map(_CHANGING_WORD.fullmatch, words)):
        return None
    core = _core(tokens, mathematical[0], mathematical[-1])
    return _value(core)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        start = at
        while start < len(text) and text[start].isspace():
            start += 1
        if start == len(text):
            break
        spaced = start > at or start == 0
        after_value = bool(tokens) and (
            tokens[-1].kind == "number" or tokens[-1].text in (")", "}", "]", "\\pi") or tokens[-1].kind == "unit"
        )
        if after_value and (found := match_unit(text, start)):
            unit, at = found
            tokens.append(_Token("unit", text[start:at], spaced, unit))
        else:
            match = _TOKEN.match(text, start)
            assert match is not None  # `other` takes any character
            at = match.end()
            tokens.append(_Token(str(match.lastgroup), match[0], spaced))
    return tokens


def _core(tokens: list[_Token], first: int, last: int) -> list[_Token]:
    """The tokens of the value: from its sign or opening bracket to its unit. Unreadable where words reach into it."""
    while first > 0 and tokens[first - 1].kind == "operator" and tokens[first - 1].text in "-+([{":
        first -= 1
    while last + 1 < len(tokens) and tokens[last + 1].kind in ("operator", "unit"):
        last += 1
    before, core, after = tokens[:first], tokens[first : last + 1], tokens[last + 1 :]
    if any(token.kind not in ("word",) and token.text not in _QUIET for token in before + after):
        raise Unreadable("something other than words around the value")
    if any(token.kind in ("word", "other") for token in core):
        raise Unreadable("words or signs inside the value")
    if before and before[-1].kind == "word" and _FUNCTION.fullmatch(before[-1].text):
        raise Unreadable("a function of the value, or a command that is not known")
    if before and before[-1].kind == "word" and _belongs_to(before[-1], core):
        raise Unreadable("a variable before the value")
    if after and after[0].kind == "word" and _is_variable(after[0]):
        raise Unreadable("a variable behind the value")
    return core


def _belongs_to(word: _Token, core: list[_Token]) -> bool:
    """x5, x - 5 and x-5 are expressions; "B 65" and "angle -65" are a name and a value."""
    if word.text[0] > "\u3400":
        return core[0].text == "+"
    glued = not core[0].spaced
    signed = core[0].text in ("-", "+")
    return glued or (signed and len(core) > 1 and core[1].spaced)


def _is_variable(word: _Token) -> bool:
    """2x and 2 x are expressions, "5 cubes" and "5个" are counts."""
    ascii_word = word.text[0] < "\u3400"
    return ascii_word and (not word.spaced or len(word.text) == 1 or word.text.isupper() or word.text[0] == "\\")


def _value(core: list[_Token]) -> Value:
    unit: Unit | None = None
    percent = False
    core = _without_brackets(core)
    while core and (core[-1].kind == "unit" or core[-1].text == "%"):
        percent = percent or core[-1].text == "%"
        unit = unit or core[-1].unit
        core = _without_brackets(core[:-1])
    if any(token.kind == "unit" or token.text == "%" for token in core):
        raise Unreadable("a unit inside the value")
    latex = _latex(core)
    number = Fraction(latex) if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", latex) else None
    if percent:
        latex = rf"\frac{{{latex}}}{{100}}"
        number = None if number is None else number / 100
    return Value((latex,), number, unit)


def _without_brackets(core: list[_Token]) -> list[_Token]:
    """(65) and [65] are 65."""
    while len(core) > 2 and core[0].text + core[-1].text in ("()", "[]", "{}") and _closes_at_end(core):
        core = core[1:-1]
    return core


def _closes_at_end(core: list[_Token]) -> bool:
    depth = 0
    for i, token in enumerate(core):
        depth += (token.text in "([{") - (token.text in ")]}")
        if depth == 0:
            return i == len(core) - 1
    return False


# The shape of an expression: n a number, a any other atom (π, a root, a bracket); r, f, t a root, fraction, sine.
# A product may be left unwritten before an atom (2√3, 2π, 3(√3+1)), never before a number (2 3).
_SUM = r"[-+]?[na](?:[-+*/][-+]?[na]|a)*"
_INNERMOST = re.compile(rf"f\{{{_SUM}\}}\{{{_SUM}\}}|r\{{{_SUM}\}}|\({_SUM}\)|t[na]|(?P<base>[na])\^(?:\{{{_SUM}\}}|a)")
_SHAPES = {"\\pi": "a", "\\frac": "f", "\\sin": "t", "\\cos": "t", "\\tan": "t", "\\cot": "t"}


def _is_expression(core: list[_Token]) -> bool:
    """Whether the tokens form one complete expression: folds the innermost brackets until one sum is left."""
    shape = "".join(
        "n" if t.kind == "number" else _SHAPES.get(t.text) or t.text.replace("\\sqrt", "r")[0] for t in core
    )
    while (folded := _INNERMOST.sub(lambda match: match["base"] or "a", shape)) != shape:
        shape = folded
    return re.fullmatch(_SUM, shape) is not None


def _latex(core: list[_Token]) -> str:
    """The tokens as LaTeX with the products written out, so that 3/2√3 is read from left to right, as people do."""
    if not core or not _is_expression(core):
        raise Unreadable("not one expression")
    out: list[str] = []
    for i, token in enumerate(core):
        begins_factor = token.text == "(" or token.kind == "command"
        ends_factor = i > 0 and (core[i - 1].kind == "number" or core[i - 1].text in (")", "}", "\\pi"))
        if begins_factor and ends_factor and not _is_mixed_number(core, i):
            out.append("*")
        out.append(_plain_number(token.text) if token.kind == "number" else token.text)
        if token.kind == "command" and token.text[-1] != "]":
            out.append(" ")
    return "".join(out).removeprefix("+")


def _is_mixed_number(core: list[_Token], i: int) -> bool:
    r"""2\frac{1}{2} is two and a half; 2\frac{3}{2} is a product."""
    texts = [token.text for token in core[i - 1 : i + 7]]
    if len(texts) < 8 or texts[1:3] != ["\\frac", "{"] or texts[4:6] != ["}", "{"] or texts[7] != "}":
        return False
    whole, above, below = texts[0], texts[3], texts[6]
    return whole.isdigit() and above.isdigit() and below.isdigit() and int(above) < int(below)


def _plain_number(text: str) -> str:
    """007 is 7 and .5 is 0.5."""
    whole, dot, decimals = text.partition(".")
    return (whole.lstrip("0") or "0") + dot + decimals
