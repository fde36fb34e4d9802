"""Many ways to write one character become one: full-width forms, dashes, fraction and superscript characters."""

import re
import unicodedata

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
