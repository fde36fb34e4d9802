"""Markdown, HTML and LaTeX dressing around a value taken off; several ways to write one operation made one.

The result is plain text with a little LaTeX: `\\frac{}{}`, `\\sqrt{}`, `\\pi`, `^{}`, `°`, `%`, `≈`.
"""

import html
import re
from collections.abc import Callable
from fractions import Fraction

from hint_grpo.scoring.characters import plain_characters
from hint_grpo.scoring.units import match_unit
from hint_grpo.scoring.wording import BOUND_BEFORE, CHANGING_WORD

_GROUP = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # braces, two levels deep inside
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_TEXT_COMMANDS = (
    "text|textbf|textit|textrm|textnormal|texttt|mathrm|mathbf|mathit|mathsf|mathbb|mathnormal|operatorname|mbox|hbox"
    "|rm|bf|bm|boldsymbol|emph|underline|phantom|ensuremath|mathord|unit|si|color|overline|widehat|overarc"
)
_BOX = re.compile(r"\\f?box(?:ed)?\s*" + _GROUP)
_ENTITY = re.compile(r"&(?:#[0-9]{1,6}|#[xX][0-9A-Fa-f]{1,5}|[A-Za-z]{2,8});")

Replacement = str | Callable[[re.Match[str]], str]


def _rules(*rules: tuple[str, Replacement]) -> list[tuple[re.Pattern[str], Replacement]]:
    return [(re.compile(pattern, re.DOTALL), replacement) for pattern, replacement in rules]


def _exact(number: str) -> str:
    """The decimals of an exponent as a fraction: sympy does not see that 13^0.5 is a root."""
    value = Fraction(number)
    return number if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


_DRESSING = _rules(
    (r"\\\\(?=[A-Za-z(\[\])])", r"\\"),  # backslashes doubled by JSON
    (r"<br\s*/?>", "\n"),
    (r"<sup>\s*([0-9]+)\s*</sup>", r"^{\1}"),
    (r"</?(?:b|i|u|p|em|strong|span|div|code|box|sub|math|answer|think)\b[^<>]{0,80}>", " "),
    (r"\*\*(.+?)\*\*", r"\1"),
    (r"__(.+?)__", r"\1"),
    (r"^\s*(?:#{1,6}|\*|\+)\s+", ""),
    (r"^\s*\*\s*(?=\S.*\*$)|\*\s*$", ""),  # *65*
    (r"(?<=[0-9])(?:\\,|\\ |\{,\}|\\!)(?=[0-9]{3}(?![0-9]))", ","),
    (r"\\[()\[\]]|\$|\\\$", " "),
)
_COMMANDS = _rules(
    (r"<=+>|<-+>|\\(?:iff|leftrightarrow|Leftrightarrow)(?![A-Za-z])", " therefore "),
    (r"<=|=<", "≤"),
    (r">=", "≥"),
    (r"!==?|=/=|/=|<>|=\\=|\\not\s*=|\\neq?(?![A-Za-z])", "≠"),
    (r"={2,3}", "="),
    (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits|mathstrut)(?![A-Za-z])", ""),
    (r"\\(?:[,;:!> ]|q?quad(?![A-Za-z])|hspace\*?\{[^{}]*\}|hfill|newline|nobreak|space(?![A-Za-z]))|~", " "),
    (r"\\\\", "\n"),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:times|cdot|ast|bullet)(?![A-Za-z])", "*"),
    (r"\\div(?![A-Za-z])", "/"),
    (r"\\(?:approx|simeq|thickapprox|doteq|sim)(?![A-Za-z])", "≈"),
    (r"\\(?:implies|Rightarrow|Longrightarrow|rightarrow|to|therefore|because)(?![A-Za-z])|[-=]+>", " therefore "),
    (r"\\(?:colon|ratio)(?![A-Za-z])", ":"),
    (r"\\(?:pi|Pi|varpi)(?![A-Za-z])", "π"),
    (r"\\frac\s*([0-9π]|(?<=\s)[A-Za-z])\s*(?=[{0-9A-Za-zπ])", r"\\frac{\1}"),
    (rf"\\frac\s*{_GROUP}\s*([0-9π]|(?<=\s)[A-Za-z])", r"\\frac{\1}{\2}"),
    (rf"\\abs\s*{_GROUP}", r"|\1|"),
    (r"\\(?:[lr]?vert|mid)(?![A-Za-z])", "|"),
    (r"\\(?:circ|degrees?|textdegree)(?![A-Za-z])", "°"),
    (r"\\prime(?![A-Za-z])", "'"),
    (r"\^\s*(?:\{\s*'\s*\}|')", "'"),
    (r"\^\s*(?:\{\s*(?:°|o)\s*\}|°|o(?![A-Za-z]))", "°"),
    (r"\\(?:measured)?angle(?![A-Za-z])", " angle "),
    (r"\\(?:triangle|Delta)(?![A-Za-z])", " triangle "),
    (r"\\odot(?![A-Za-z])", " circle "),
    (r"\\(?:leq?|leqq|leqslant)(?![A-Za-z])", "≤"),
    (r"\\(?:geq?|geqq|geqslant)(?![A-Za-z])", "≥"),
    (r"\\(?:lt|ll)(?![A-Za-z])", "<"),
    (r"\\(?:gt|gg)(?![A-Za-z])", ">"),
    (r"\\pm(?![A-Za-z])", "±"),
    (r"\\([%&#_{}])|\{\s*\}", r"\1"),
)
_WORDS = _rules(
    (r"(?i)\\sqrt(?![A-Za-z])|(?<![A-Za-z\\])(?:square\s+root\s+of|sqrt|root)(?![A-Za-z])|根号", "√"),
    (r"(?i)(?<![A-Za-z\\])pi(?![A-Za-z])", "π"),
    (r"(?i)(?<![A-Za-z])negative\s+(?=[0-9.√π(\\])|负(?=[0-9.√π(\\])", "-"),
    (r"(?i)\s*(?:\bpercent(?:age)?\b|\bper\s+cent\b|\bpct\b)", "%"),
    (r"(?<![A-Za-z*])\*\*(?=[-0-9({])", "^"),
    (r"(?<=[0-9)}π])\s*[xX]\s*(?=[0-9√])|(?<=[0-9)}π])\s+[xX]\s+(?=π|\(|\\(?!text))", "*"),
    (rf"({_NUMBER})[eE]([+-]?[0-9]+)(?![0-9A-Za-z.])", r"\1*10^{\2}"),
    (rf"\^\s*(-?{_NUMBER})", lambda m: f"^{{{_exact(m[1])}}}"),  # to LaTeX 2^10 is 2^{1}0
    # 65°30'15" is one angle; a minute is 1/60 of a degree.
    (rf"""({_NUMBER})\s*°\s*({_NUMBER})\s*'\s*({_NUMBER})\s*["']+""", r"(\1+\\frac{\2}{60}+\\frac{\3}{3600})°"),
    (rf"({_NUMBER})\s*°\s*({_NUMBER})\s*'", r"(\1+\\frac{\2}{60})°"),
    # In "tan 60°" the degrees belong to the argument and not to the value; latex2sympy reads radians.
    (rf"(?<![A-Za-z])\\?(sin|cos|tan|cot)\s*[({{]?\s*({_NUMBER})\s*°\s*[)}}]?", r"\\\1(\\frac{\2*π}{180})"),
    (r"(?<![\\A-Za-z])(sin|cos|tan|cot)\s*(?=[({])", r"\\\1"),
    # Thousands: 1,000 and 1 000, but not 1,00 or 12 5.
    (r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])", lambda m: m[0].replace(",", "")),
    (r"(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]|,[0-9]| [0-9])", lambda m: m[0].replace(" ", "")),
    (r"(?i)(?<![0-9.])([0-9]+)\s+and\s+(?:a|one)\s+half\b", r"(\1+\\frac{1}{2})"),
    # 2 1/2 is two and a half.
    (r"(?<![0-9./^{+*-])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9.])", r"(\1+\\frac{\2}{\3})"),
)


def plain_markup(text: str) -> str:
    """`text` without its dressing. Keep it short: the callers cut at a length no answer reaches."""
    for _ in range(2):  # &amp;lt; is <
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    text = _unwrap(_apply(_DRESSING, plain_characters(text).strip()))
    text = _apply(_WORDS, _boxed(_apply(_COMMANDS, text)))
    return _braced_roots(text).replace("π", r"\pi ").strip()


def _apply(rules: list[tuple[re.Pattern[str], Replacement]], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _boxed(text: str) -> str:
    r"""What stands in the boxes, where there are any: a writer boxes the answer. Several boxes stay several values.

    What belongs to the boxed value stays with it: a unit (`\boxed{28}\%`), a sign, a bound (`> \boxed{5}`, `not \boxed{5}`).
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return text
    parts = []
    for i, box in enumerate(boxes):
        before = text[boxes[i - 1].end() if i else 0 : box.start()]
        behind = text[box.end() : boxes[i + 1].start() if i + 1 < len(boxes) else len(text)]
        parts.append(_belonging_before(before) + _boxed(box[1]) + _belonging_behind(behind))
    return ", ".join(dict.fromkeys(parts))


_LINK_END = re.compile(r"[=≈:;,\n]|\b(?:is|are|was|equals?)\b", re.IGNORECASE)
_OPERATOR_BEFORE = re.compile(r"(?:(?:^|[^A-Za-z\s])\s*[-+]|[*/^<>≤≥≠±√|]|\\[A-Za-z]+|[0-9])\s*[({]?\s*$")
_OPERATOR_BEHIND = re.compile(r"[ \t]*(?:[-+*/^!<>≤≥±√|\\]|or\b|to\b|[0-9])")
_SIGN_BEHIND = re.compile(r"\s*(?:[%°]|per\s?cent\b)")


def _belonging_before(text: str) -> str:
    """The start of the boxed value's link, where it changes the value."""
    clause = _LINK_END.split(text)[-1]
    changes = (
        _OPERATOR_BEFORE.search(clause)
        or BOUND_BEFORE.search(clause)
        or any(map(CHANGING_WORD.fullmatch, re.findall(r"[a-z]+", clause.lower())))
    )
    return clause if changes else ""


def _belonging_behind(text: str) -> str:
    """The unit or the operator behind the box."""
    if sign := _SIGN_BEHIND.match(text):
        return sign[0]
    start = len(text) - len(text.lstrip())
    if unit := match_unit(text, start):
        return " " + text[start : unit[1]]
    operation = re.match(r"[^,;.\n]*", text) if _OPERATOR_BEHIND.match(text) else None
    return operation[0] if operation else ""


_TEXT_COMMAND = re.compile(rf"\\(?:{_TEXT_COMMANDS})\s*{_GROUP}")


def _unwrap(text: str) -> str:
    r"""\text{ cm} becomes cm, from the outside in."""
    while (unwrapped := _TEXT_COMMAND.sub(r" \1 ", text)) != text:
        text = unwrapped
    return text


_RADICAND = re.compile(rf"\s*(?:{_NUMBER}|\\frac{_GROUP}{_GROUP}|\\pi|[A-Za-z](?![A-Za-z]))")


def _braced_roots(text: str) -> str:
    r"""√3, √{3}, √(3) and sqrt 3 become \sqrt{3}; the last root first, so that inner ones are done before outer."""
    end = len(text)
    while (at := text.rfind("√", 0, end)) >= 0:
        end = at
        index = re.match(r"\s*\[([0-9]+)\]", text[at + 1 :])
        start = at + 1 + (index.end() if index else 0)
        command = rf"\sqrt[{index[1]}]" if index else r"\sqrt"
        radicand, stop = _radicand(text, start)
        if radicand is not None:
            text = f"{text[:at]}{command}{{{radicand}}}{text[stop:]}"
    return text


def _radicand(text: str, start: int) -> tuple[str | None, int]:
    """What a root stands over, and where it ends: a bracketed group or one number; None where there is neither."""
    while start < len(text) and text[start] == " ":
        start += 1
    if text[start : start + 1] in ("{", "("):
        opening = text[start]
        closing = "}" if opening == "{" else ")"
        depth = 0
        for stop in range(start, len(text)):
            depth += (text[stop] == opening) - (text[stop] == closing)
            if depth == 0:
                return text[start + 1 : stop], stop + 1
        return None, start
    number = _RADICAND.match(text, start)
    return (number[0].strip(), number.end()) if number else (None, start)
