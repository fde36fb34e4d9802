"""Removes Markdown, HTML and LaTeX markup from an answer, and writes each operation in one way. The first step of reading.

The result is plain text with a little LaTeX: `\\frac{}{}`, `\\sqrt{}`, `\\pi`, `^{}`, `°`, `%`, `≈`.

    "**\\boxed{2\\sqrt3\\,\\text{cm}}**"   becomes "2\\sqrt{3} cm", apart from spaces; so does "2 square root of 3 cm"
    "½ × 60º"                          becomes "\\frac{1}{2} * 60°"
"""

import html
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

from hint_grpo.scoring.vocabulary import BOUND_BEFORE, CHANGING_WORD, match_unit

# Parts of the patterns below
_GROUP = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # in braces, with two more levels of braces inside
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
# HTML entities: "&lt;", "&#60;", "&#x3C;"
_ENTITY = re.compile(r"&(?:#[0-9]{1,6}|#[xX][0-9A-Fa-f]{1,5}|[A-Za-z]{2,8});")


def plain_markup(text: str) -> str:
    """`text` without its markup; see the module's docstring.

    Some patterns are slow on long texts, so callers cut them at `single_value.MAX_CHARACTERS`.
    """
    for _ in range(2):  # &amp;lt; becomes &lt;, then <
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    text = _unwrap(_apply(_MARKUP_RULES, plain_characters(text).strip()))
    text = _apply(_NOTATION_RULES, _boxed(_apply(_COMMAND_RULES, text)))
    return _braced_roots(text).replace("π", r"\pi ").strip()


# ----------------------------------------------------------------------------------------------------
# Characters: full-width forms, dashes, fraction and superscript characters become plain ones

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta", "λ": "lambda", "μ": "mu",
    "ρ": "rho", "σ": "sigma", "φ": "phi", "ϕ": "phi", "ω": "omega",
}  # fmt: skip
# The character or word that replaces each character of the string.
_LOOKALIKES = {
    "-": "−‐‑‒–﹣",
    "*": "×✕⋅∙·•∗",
    "/": "÷∕⁄",
    ":": "∶꞉",
    ",": "、､",
    ".": "。｡",
    "°": "º˚∘",
    "'": "′’‘ʹ",
    '"': "″”“",
    "≈": "≃≅∼≒",
    "π": "ΠП",
    "\n": "\r\u2028\u2029\x0b\x0c",
    " angle ": "∠∡",
    " triangle ": "△▲∆",
    " circle ": "⊙",
    " therefore ": "∴∵⇒→⟹",
    "": "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad`",
}
_TABLE = str.maketrans({other: one for one, others in _LOOKALIKES.items() for other in others})
_TABLE |= str.maketrans({letter: f"\\{name} " for letter, name in _GREEK.items()})


def plain_characters(text: str) -> str:
    r"""`text` with look-alike characters unified; ½ becomes \frac{1}{2} and ² becomes ^{2}."""
    if text.isascii():
        return text.replace("`", "").replace("\r", "\n")
    # A long dash is a minus sign only at the start of the text, before a number; elsewhere it separates clauses.
    text = re.sub(r"^\s*[—―]\s*(?=[0-9√π.])", "-", text)
    text = re.sub(r"[—―]+", ";", text)
    text = re.sub(r"(?<=[0-9)}])⁰(?![⁰¹²³⁴⁵⁶⁷⁸⁹])", "°", text)  # 60⁰ is how a keyboard without ° writes degrees
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}", text)
    return "".join(map(_plain, text.translate(_TABLE)))


def _plain(char: str) -> str:
    """One character: spaces and digits of all scripts, fractions, full-width forms."""
    if char.isascii():
        return char
    if unicodedata.category(char) == "Zs":
        return " "
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    compatible = unicodedata.normalize("NFKC", char)
    if "⁄" in compatible:
        above, _, below = compatible.partition("⁄")
        return rf"\frac{{{above}}}{{{below}}}" if below else char
    # Full-width and mathematical-alphabet forms of a character; ㎝ becomes cm.
    return compatible.translate(_TABLE)


# ----------------------------------------------------------------------------------------------------
# Rules: regular expressions and their replacements, applied in this order

Replacement = str | Callable[[re.Match[str]], str]


def _rules(*rules: tuple[str, Replacement]) -> list[tuple[re.Pattern[str], Replacement]]:
    return [(re.compile(pattern, re.DOTALL), replacement) for pattern, replacement in rules]


def _exact(number: str) -> str:
    r"""0.5 as \frac{1}{2}, for exponents: sympy does not recognise 13^0.5 as a root."""
    value = Fraction(number)
    return number if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


# Markup around the value.
_MARKUP_RULES = _rules(
    (r"\\\\(?=[A-Za-z(\[\])])", r"\\"),  # backslashes doubled by JSON
    (r"<br\s*/?>", "\n"),
    (r"<sup>\s*([0-9]+)\s*</sup>", r"^{\1}"),
    (r"</?(?:b|i|u|p|em|strong|span|div|code|box|sub|math|answer|think)\b[^<>]{0,80}>", " "),
    (r"\*\*(.+?)\*\*", r"\1"),  # **65**
    (r"__(.+?)__", r"\1"),
    (r"^\s*(?:#{1,6}|\*|\+)\s+", ""),  # headings and list items
    (r"^\s*\*\s*(?=\S.*\*$)|\*\s*$", ""),  # *65*
    (r"(?<=[0-9])(?:\\,|\\ |\{,\}|\\!)(?=[0-9]{3}(?![0-9]))", ","),  # 1\,500
    (r"\\[()\[\]]|\$|\\\$", " "),  # $65$ and \(65\)
)
# LaTeX commands and ASCII signs, each as one character; a relation other than "=" must stay recognisable.
_COMMAND_RULES = _rules(
    # Relations: <=, !=, ==, \neq; the arrow <=> separates clauses.
    (r"<=+>|<-+>|\\(?:iff|leftrightarrow|Leftrightarrow)(?![A-Za-z])", " therefore "),
    (r"<=|=<", "≤"),
    (r">=", "≥"),
    (r"!==?|=/=|/=|<>|=\\=|\\not\s*=|\\neq?(?![A-Za-z])", "≠"),
    (r"={2,3}", "="),
    # Sizes and spaces: \left( x \right), 5\,cm, 5~cm.
    (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits|mathstrut)(?![A-Za-z])", ""),
    (r"\\(?:[,;:!> ]|q?quad(?![A-Za-z])|hspace\*?\{[^{}]*\}|hfill|newline|nobreak|space(?![A-Za-z]))|~", " "),
    (r"\\\\", "\n"),
    # Operations: \dfrac, \times, \div, \approx, \implies, \colon, \pi.
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:times|cdot|ast|bullet)(?![A-Za-z])", "*"),
    (r"\\div(?![A-Za-z])", "/"),
    (r"\\(?:approx|simeq|thickapprox|doteq|sim)(?![A-Za-z])", "≈"),
    (r"\\(?:implies|Rightarrow|Longrightarrow|rightarrow|to|therefore|because)(?![A-Za-z])|[-=]+>", " therefore "),
    (r"\\(?:colon|ratio)(?![A-Za-z])", ":"),
    (r"\\(?:pi|Pi|varpi)(?![A-Za-z])", "π"),
    # \frac12, \frac{1}2 and \frac1{2} become \frac{1}{2}.
    (r"\\frac\s*([0-9π]|(?<=\s)[A-Za-z])\s*(?=[{0-9A-Za-zπ])", r"\\frac{\1}"),
    (rf"\\frac\s*{_GROUP}\s*([0-9π]|(?<=\s)[A-Za-z])", r"\\frac{\1}{\2}"),
    # Absolute values: \abs{x}, \lvert x \rvert.
    (rf"\\abs\s*{_GROUP}", r"|\1|"),
    (r"\\(?:[lr]?vert|mid)(?![A-Za-z])", "|"),
    # Degrees and primes: 65^\circ, 65^{\circ}, 65^o, A^\prime.
    (r"\\(?:circ|degrees?|textdegree)(?![A-Za-z])", "°"),
    (r"\\prime(?![A-Za-z])", "'"),
    (r"\^\s*(?:\{\s*'\s*\}|')", "'"),
    (r"\^\s*(?:\{\s*(?:°|o)\s*\}|°|o(?![A-Za-z]))", "°"),
    # Figures: \angle A, \triangle ABC, \odot O.
    (r"\\(?:measured)?angle(?![A-Za-z])", " angle "),
    (r"\\(?:triangle|Delta)(?![A-Za-z])", " triangle "),
    (r"\\odot(?![A-Za-z])", " circle "),
    # Relations: \leq, \geqslant, \lt, \pm.
    (r"\\(?:leq?|leqq|leqslant)(?![A-Za-z])", "≤"),
    (r"\\(?:geq?|geqq|geqslant)(?![A-Za-z])", "≥"),
    (r"\\(?:lt|ll)(?![A-Za-z])", "<"),
    (r"\\(?:gt|gg)(?![A-Za-z])", ">"),
    (r"\\pm(?![A-Za-z])", "±"),
    # Escapes and empty braces: \%, {}.
    (r"\\([%&#_{}])|\{\s*\}", r"\1"),
)
# Notations of numbers and operations: words for signs, powers, degrees, thousands, mixed numbers.
_NOTATION_RULES = _rules(
    # Words for signs: "square root of 3", "pi", "negative 8", "5 percent".
    (r"(?i)\\sqrt(?![A-Za-z])|(?<![A-Za-z\\])(?:square\s+root\s+of|sqrt|root)(?![A-Za-z])|根号", "√"),
    (r"(?i)(?<![A-Za-z\\])pi(?![A-Za-z])", "π"),
    (r"(?i)(?<![A-Za-z])negative\s+(?=[0-9.√π(\\])|负(?=[0-9.√π(\\])", "-"),
    (r"(?i)\s*(?:\bpercent(?:age)?\b|\bper\s+cent\b|\bpct\b)", "%"),
    # 2**10, 4 x 5, 1.2e3
    (r"(?<![A-Za-z*])\*\*(?=[-0-9({])", "^"),
    (r"(?<=[0-9)}π])\s*[xX]\s*(?=[0-9√])|(?<=[0-9)}π])\s+[xX]\s+(?=π|\(|\\(?!text))", "*"),
    (rf"({_NUMBER})[eE]([+-]?[0-9]+)(?![0-9A-Za-z.])", r"\1*10^{\2}"),
    (rf"\^\s*(-?{_NUMBER})", lambda m: f"^{{{_exact(m[1])}}}"),  # LaTeX reads 2^10 as 2^{1}0
    # 65°30'15" is one angle; a minute is 1/60 of a degree.
    (rf"""({_NUMBER})\s*°\s*({_NUMBER})\s*'\s*({_NUMBER})\s*["']+""", r"(\1+\\frac{\2}{60}+\\frac{\3}{3600})°"),
    (rf"({_NUMBER})\s*°\s*({_NUMBER})\s*'", r"(\1+\\frac{\2}{60})°"),
    # In "tan 60°" the degrees belong to the argument, not to the value; latex2sympy expects radians.
    (rf"(?<![A-Za-z])\\?(sin|cos|tan|cot)\s*[({{]?\s*({_NUMBER})\s*°\s*[)}}]?", r"\\\1(\\frac{\2*π}{180})"),
    (r"(?<![\\A-Za-z])(sin|cos|tan|cot)\s*(?=[({])", r"\\\1"),
    # Thousands: 1,000 and 1 000, but not 1,00 or 12 5. Then "2 and a half".
    (r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])", lambda m: m[0].replace(",", "")),
    (r"(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]|,[0-9]| [0-9])", lambda m: m[0].replace(" ", "")),
    (r"(?i)(?<![0-9.])([0-9]+)\s+and\s+(?:a|one)\s+half\b", r"(\1+\\frac{1}{2})"),
    # 2 1/2 is two and a half.
    (r"(?<![0-9./^{+*-])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9.])", r"(\1+\\frac{\2}{\3})"),
)


def _apply(rules: list[tuple[re.Pattern[str], Replacement]], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


# ----------------------------------------------------------------------------------------------------
# LaTeX commands around text: \text{ cm}

_TEXT_COMMANDS = (
    "text|textbf|textit|textrm|textnormal|texttt|mathrm|mathbf|mathit|mathsf|mathbb|mathnormal|operatorname|mbox|hbox"
    "|rm|bf|bm|boldsymbol|emph|underline|phantom|ensuremath|mathord|unit|si|color|overline|widehat|overarc"
)
_TEXT_COMMAND = re.compile(rf"\\(?:{_TEXT_COMMANDS})\s*{_GROUP}")


def _unwrap(text: str) -> str:
    r"""\text{ cm} becomes cm; nested commands too, the outer ones first."""
    while (unwrapped := _TEXT_COMMAND.sub(r" \1 ", text)) != text:
        text = unwrapped
    return text


# ----------------------------------------------------------------------------------------------------
# Boxes: \boxed{65}

_BOX = re.compile(r"\\f?box(?:ed)?\s*" + _GROUP)


def _boxed(text: str) -> str:
    r"""The contents of the boxes if there are any, since the box marks the answer; several boxes stay several values.

    What changes the boxed value is kept: a unit (`\boxed{28}\%`), an operator, a bound (`> \boxed{5}`, `not \boxed{5}`).
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return text
    parts = []
    for i, box in enumerate(boxes):
        before = text[boxes[i - 1].end() if i else 0 : box.start()]
        after = text[box.end() : boxes[i + 1].start() if i + 1 < len(boxes) else len(text)]
        parts.append(_kept_before(before) + _boxed(box[1]) + _kept_after(after))
    return ", ".join(dict.fromkeys(parts))


# What separates the boxed value's link from the text before it: the "=" of "x = \boxed{65}".
_LINK_END = re.compile(r"[=≈:;,\n]|\b(?:is|are|was|equals?)\b", re.IGNORECASE)
# Before the box: "2*", "> ", "√"; and not the hyphen of "side-".
_OPERATOR_BEFORE = re.compile(r"(?:(?:^|[^A-Za-z\s])\s*[-+]|[*/^<>≤≥≠±√|]|\\[A-Za-z]+|[0-9])\s*[({]?\s*$")
# After the box: "/2", "or 6".
_OPERATOR_AFTER = re.compile(r"[ \t]*(?:[-+*/^!<>≤≥±√|\\]|or\b|to\b|[0-9])")
_SIGN_AFTER = re.compile(r"\s*(?:[%°]|per\s?cent\b)")


def _kept_before(text: str) -> str:
    """The text before a box, from the last "=" or comma, if it changes the value; else nothing."""
    clause = _LINK_END.split(text)[-1]
    changes = (
        _OPERATOR_BEFORE.search(clause)
        or BOUND_BEFORE.search(clause)
        or any(map(CHANGING_WORD.fullmatch, re.findall(r"[a-z]+", clause.lower())))
    )
    return clause if changes else ""


def _kept_after(text: str) -> str:
    """The unit after a box, or an operator and what follows it up to the end of the clause; else nothing."""
    if sign := _SIGN_AFTER.match(text):
        return sign[0]
    start = len(text) - len(text.lstrip())
    if unit := match_unit(text, start):
        return " " + text[start : unit[1]]
    operation = re.match(r"[^,;.\n]*", text) if _OPERATOR_AFTER.match(text) else None
    return operation[0] if operation else ""


# ----------------------------------------------------------------------------------------------------
# Roots: √3

# What a root without brackets covers: "3", "\frac{1}{2}", "\pi", "a".
_RADICAND = re.compile(rf"\s*(?:{_NUMBER}|\\frac{_GROUP}{_GROUP}|\\pi|[A-Za-z](?![A-Za-z]))")


def _braced_roots(text: str) -> str:
    r"""√3, √{3} and √(3) become \sqrt{3}, √[3]8 \sqrt[3]{8}. From the last root to the first, so inner before outer."""
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
    """The radicand of a root and the position after it: a group in brackets or one number; None if there is neither."""
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
