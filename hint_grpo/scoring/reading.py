"""An answer or a ground truth as a person reads it: the one value it gives, or nothing.

    "B. 65°"                    65 degrees          "65° or 115°"     nothing: a list of candidates
    "AB = 2\\sqrt{3} ≈ 3.46"    2√3, or 3.46        "more than 65"    nothing
    "The angle is 65 degrees."  65 degrees          "3:5"             three fifths

From the outside in: markup, labels and brackets; clauses; chains of equalities; ratios; then `values.read_value`.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.number_words import with_digits
from hint_grpo.scoring.values import Unreadable, Value, read_value

# Longer than any answer: the longest of 754 real ones has some fifty characters. It also bounds the work done here.
MAX_CHARACTERS = 500

_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|answer(?=\s*(?:is|[:=]))|in conclusion)\b|答案|所以|因此|故", re.IGNORECASE
)
_CLAUSE_END = re.compile(r"[;\n,]|[.!?](?![0-9])|\b(?:or|and|but|because|since|as)\b|或|和|与|及", re.IGNORECASE)
_EQUALS = re.compile(r"=|≈|\b(?:is|are|was|equals?(?:\s+to)?)\b|是|为|等于|约", re.IGNORECASE)
_APPROXIMATELY = r"(?:or\s+)?\b(?:approximately|about|approx\b\.?|roughly|nearly|i\.e\.?,?|that is,?)(?=\s*[-0-9.√\\])"
_ROUGHLY_BRACKETED = re.compile(rf"\(\s*(?:≈|=|{_APPROXIMATELY})([^()]*)\)", re.IGNORECASE)
_ROUGHLY = re.compile(rf"[,;]?\s*{_APPROXIMATELY}", re.IGNORECASE)
# "angle 1 is 65": the 1 is a name, unless it carries degrees itself.
_LABEL = re.compile(
    r"\b(angle|figure|question|problem|option|choice|step|case|part|line|circle|point|no\.?)\s*#?[0-9]+\b(?!\s*[.°:][0-9]|\s*°)",
    re.IGNORECASE,
)
_OPTION = re.compile(r"^\s*(?:(?:option|choice|answer)\s*:?\s*)?[(\[]?([A-H])[)\]]?\s*[.:,)\]]\s*(?=\S)", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|isn't|never|cannot|can't)\b|≠|\\neq?\b|不", re.IGNORECASE)
# 2x = 10 does not say that something is 10.
_SCALED_VARIABLE = re.compile(r"\s*[0-9.]+\s*\*?\s*[A-Za-z]\s*")
_REMARK = re.compile(r"(?<=[0-9°}%a-z])\s+\(([^()\\]*[A-Za-z°][^()\\]*)\)")
_ONLY_WORDS_BRACKETED = re.compile(r"[(\[]([^()\[\]0-9πi√]*)[)\]]")


@dataclass(frozen=True)
class Reading:
    """The value read, and the earlier links of its chain of equalities (10√3 in "10√3 ≈ 17.32")."""

    value: Value
    earlier: tuple[Value, ...] = ()


@lru_cache(maxsize=4096)
def read(text: str) -> Reading | None:
    """What `text` says, or None where a person could not name one value."""
    if len(text) > MAX_CHARACTERS:
        return None
    plain = _undressed(plain_markup(text))
    conclusion = [match.end() for match in _CONCLUSION.finditer(plain)][-1:]
    for part in [*(plain[at:] for at in conclusion), plain]:
        try:
            found = _read_clauses(part)
        except Unreadable:
            return None
        if found is not None:
            return found
    return None


def _undressed(text: str) -> str:
    """Without option letters, names that hold a number, remarks in brackets, and hyphens inside words."""
    text = _OPTION.sub("", text)
    if re.fullmatch(r"[^0-9\\]*", text):
        text = with_digits(text)
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    text = re.sub(r"\s-\s+(?=[a-z]{3,})", "; ", text)
    text = re.sub(r"(?i)(^|[=≈:]|\bis\b)\s*minus\s+(?=[0-9\\])", r"\1 -", text)
    text = _ROUGHLY.sub(" ≈ ", _ROUGHLY_BRACKETED.sub(r" ≈ \1", text))
    text = re.sub(r"^(\s*[0-9.]+)\s+to\s+(?=[0-9.]+\s*$)", r"\1:", text)  # 3 to 5, said of a ratio
    unlabelled = _LABEL.sub(r"\1", text)
    text = unlabelled if re.search(r"[0-9]|\\pi", unlabelled) else text
    return _REMARK.sub(r"; \1", _ONLY_WORDS_BRACKETED.sub(r" \1 ", text))


def _read_clauses(text: str) -> Reading | None:
    """The value that every clause with a value gives. Unreadable where two clauses give different ones."""
    readings = [reading for clause in _CLAUSE_END.split(text) if (reading := _read_chain(clause))]
    if len({reading.value for reading in readings}) > 1 and not _same_number(readings):
        raise Unreadable("several candidates")
    return max(readings, key=lambda reading: (reading.value.unit is not None, len(reading.earlier)), default=None)


def _same_number(readings: list[Reading]) -> bool:
    """65 and 65° are one candidate."""
    numbers = {reading.value.number for reading in readings}
    units = {reading.value.unit for reading in readings} - {None}
    return len(numbers) == 1 and None not in numbers and len(units) <= 1


def _read_chain(clause: str) -> Reading | None:
    """The last link of `PQ = 2.4 * 5 / 1.5 = 8` that gives a value, with the earlier ones that do."""
    if _DENIED.search(clause):
        return None
    links = _EQUALS.split(clause)
    values: list[Value] = []
    failed: Unreadable | None = None
    for i, link in enumerate(links):
        try:
            value = _read_ratio(link)
        except Unreadable as error:
            if i == 0 and _SCALED_VARIABLE.fullmatch(link):
                raise
            failed = error
            continue
        if value is None:
            continue
        if 0 < i < len(links) - 1 and re.search(r"[0-9}°]\s+[A-Za-z]*\s*[A-Za-z]\s*$", link) and value.unit is None:
            raise Unreadable("a second equality begins: x = 65 y = 115")
        values.append(value)
        failed = None
    if failed:
        raise failed
    return Reading(values[-1], tuple(values[:-1])) if values else None


def _read_ratio(text: str) -> Value | None:
    """3:5 is three fifths, 1:2:3 keeps its terms; in "Answer: 65" nothing stands before the colon."""
    terms = [value for term in text.split(":") if (value := read_value(term)) is not None]
    if len(terms) < 2:
        return terms[0] if terms else None
    first, *others = terms
    if len(others) == 1:
        (second,) = others
        parts = (rf"\frac{{{first.parts[0]}}}{{{second.parts[0]}}}",)
        exact = first.number is not None and second.number is not None and second.number != 0
        return Value(parts, _quotient(first.number, second.number) if exact else None)
    return Value(tuple(rf"\frac{{{term.parts[0]}}}{{{first.parts[0]}}}" for term in others))


def _quotient(above: Fraction | None, below: Fraction | None) -> Fraction | None:
    return above / below if above is not None and below else None


def can_read(gold: str) -> bool:
    """Whether a ground truth is a value that `strict` reads; others are compared as words or as they stand."""
    return read(str(gold)) is not None
