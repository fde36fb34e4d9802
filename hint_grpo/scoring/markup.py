"""Markdown, HTML and LaTeX dressing around a value taken off; several ways to write one operation made one.

The result is plain text with a little LaTeX: `\\frac{}{}`, `\\sqrt{}`, `\\pi`, `^{}`, `°`, `%`, `≈`.
"""

import html
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

from hint_grpo.scoring.units import match_unit
from hint_grpo.scoring.wording import BOUND_BEFORE, CHANGING_WORD

# ----------------------------------------------------------------------------------------------------
# Many ways to write one character become one: full-width forms, dashes, fraction and superscript characters.

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta", "λ": "lambda", "μ": "mu",
    "ρ": "rho", "σ": "sigma", "φ": "phi", "ϕ": "phi", "ω": "omega",
}  # fmt: skip
_SAME = {
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
_TABLE = str.maketrans({other: one for one, others in _SAME.items() for other in others})
_TABLE |= str.maketrans({letter: f"\\{name} " for letter, name in _GREEK.items()})


def plain_characters(text: str) -> str:
    """`text` with look-alike characters unified; ½ becomes \\frac{1}{2} and ² becomes ^{2}."""
    if text.isascii():
        return text.replace("`", "").replace("\r", "\n")
    # A dash of the long kind is a minus sign only at the very front of a number; elsewhere it parts two clauses.
    text = re.sub(r"^\s*[—―]\s*(?=[0-9√π.])", "-", text)
    text = re.sub(r"[—―]+", ";", text)
    text = re.sub(r"(?<=[0-9)}])⁰(?![⁰¹²³⁴⁵⁶⁷⁸⁹])", "°", text)  # 60⁰ is how a keyboard without ° writes degrees
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}", text)
    return "".join(map(_plain, text.translate(_TABLE)))


def _plain(char: str) -> str:
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
    # Full-width and mathematical-alphabet forms of one character; longer expansions (㎝ is cm) hold units.
    return compatible.translate(_TABLE)


# ----------------------------------------------------------------------------------------------------
# Numbers in words as digits: "thirty-five" is 35, "two thirds" is \frac{2}{3}, "negative six" is -6.
#
# Words that form no number together ("five six", "hundreds") stay as they are, or are taken one by one.

_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"thousand": 1_000, "million": 1_000_000}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10,
}  # fmt: skip
_WORD = "|".join([*_SMALL, *_TENS, "hundred", *_SCALES])
_WORDED_NUMBER = re.compile(
    rf"(?P<sign>\bnegative\s+)?\b(?P<number>(?:an?\s+(?=hundred|thousand|million))?(?:{_WORD})"
    rf"(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*)\b(?:[\s-]+(?P<part>{'|'.join(_PARTS)})s?\b)?",
    re.IGNORECASE,
)
# "One" counts at the front, behind a verb or a number, and behind words such as "only"; elsewhere it stands for a noun.
_BEFORE_ONE = (
    "is|are|was|were|be|s|equals?|only|exactly|just|about|approximately|roughly|has|have|contains?|leaves?|leaving|see|gets?"
    f"|got|gives?|count|counted|found|find|remains?|to|and|or|a|negative|minus|answer|number|{_WORD}"
)
_PRONOUN = re.compile(rf"\b(?!(?:{_BEFORE_ONE})\b)([A-Za-z]+\s+)ones?\b|\bone(?=\s+(?:of|another)\b)", re.IGNORECASE)
_ONE_PART = re.compile(rf"\ban?\s+(?P<part>{'|'.join(_PARTS)})\b(?=\s*(?:[.,;]|$))", re.IGNORECASE)


def with_digits(text: str) -> str:
    """`text`, which holds no digits, with its number words as digits. In "the red one" the word is a pronoun."""
    text = _PRONOUN.sub(lambda match: f"{match[1] or ''}it", text)
    text = _ONE_PART.sub(lambda match: rf"\frac{{1}}{{{_PARTS[match['part'].lower()]}}}", text)
    return _WORDED_NUMBER.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    words = [word for word in re.split(r"[\s-]+", match["number"].lower()) if word not in ("a", "an")]
    value = _value(words)
    if value is None:  # several numbers, or no number at all
        return re.sub(r"[A-Za-z]+", lambda word: str(_SMALL.get(word[0].lower(), word[0])), match[0])
    sign = "-" if match["sign"] else ""
    if match["part"]:
        return rf"{sign}\frac{{{value}}}{{{_PARTS[match['part'].lower()]}}}"
    return f"{sign}{value}"


def _value(words: list[str]) -> int | None:
    """[one, hundred, and, five] -> 105; None where the words do not form one number."""
    total, current, before = 0, 0, ""
    for word in words:
        if word == "and":
            if before not in ("hundred", "scale"):
                return None
            continue
        if word in _SMALL:
            if before == "small" or (before == "tens" and not 1 <= _SMALL[word] <= 9):
                return None
            current, before = current + _SMALL[word], "small"
        elif word in _TENS:
            if before in ("small", "tens"):
                return None
            current, before = current + _TENS[word], "tens"
        elif word == "hundred":
            if before not in ("", "scale", "small") or current > 9:
                return None
            current, before = 100 * (current or 1), "hundred"
        else:
            if before == "scale":
                return None
            total, current, before = total + (current or 1) * _SCALES[word], 0, "scale"
    return total + current


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
