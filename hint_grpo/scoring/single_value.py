"""Reads an answer or a ground truth as a person would: the one value it gives, or nothing.

    "B. 65°"                    65 degrees          "65° or 115°"        nothing: a list of candidates
    "AB = 2\\sqrt{3} ≈ 3.46"    2√3, or 3.46        "more than 65"       nothing: a bound
    "The angle is 65 degrees."  65 degrees          "995 = 1000"         nothing: a wrong chain of equalities
    "3:5"                       three fifths        "5 (2 red, 3 blue)"  5

The steps, from the outside in: markup (markup.py), labels and remarks, clauses, chains of equalities, ratios,
and `expressions.parse_value` for what is left.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import factorial

from hint_grpo.scoring.expressions import NO_SYMBOLS, Unreadable, Value, evaluate, parse_value, rounds_to
from hint_grpo.scoring.markup import plain_markup
from hint_grpo.scoring.vocabulary import (
    BOUND_AFTER,
    CANDIDATE_WORD,
    CHANGING_WORD,
    CLAUSE_BREAK,
    CLOSE,
    CONCLUSION,
    DENIED,
    EXPLAINS,
    EXPLAINS_WEAKLY,
    OPEN,
    OR_EQUAL,
    TOTAL,
    UNLISTED,
    match_unit,
    with_digits,
)

# ----------------------------------------------------------------------------------------------------
# Labels and remarks around a value: "B. 65°", "angle 1 is 65°", "10√3 (i.e. 17.32)"

# "10√3, approximately 17.3" and "10√3 (≈ 17.3)" become "10√3 ≈ 17.3"; "10√3, i.e. 17.32" becomes "10√3 = 17.32".
_APPROXIMATELY = r"(?:or\s+)?\b(?:approximately|about|approx\b\.?|roughly)(?=\s*[-0-9.√\\])"
_THAT_IS = r"\b(?:i\.e\.?,?|that is,?)(?=\s*[-0-9.√\\])"
_ROUGHLY_BRACKETED = re.compile(rf"\(\s*(?P<sign>≈|=|{_APPROXIMATELY}|{_THAT_IS})(?P<link>[^()]*)\)", re.IGNORECASE)
_ROUGHLY = re.compile(rf"[,;]?\s*{_APPROXIMATELY}", re.IGNORECASE)
_EXACTLY = re.compile(rf"[,;]?\s*{_THAT_IS}", re.IGNORECASE)
# "angle 1 is 65": the 1 is a name, unless degrees follow it ("angle 65°").
_LABEL = re.compile(
    r"\b(angle|figure|question|problem|option|choice|step|case|part|line|circle|point|no\.?)\s*#?[0-9]+\b(?!\s*[.°:][0-9]|\s*°)",
    re.IGNORECASE,
)
# "B. 65°", "(B) 65°", "Option C: 65°"
_OPTION = re.compile(
    rf"^\s*(?:(?:option|choice|answer)\s*:?\s*)?{OPEN}?({UNLISTED}){CLOSE}?\s*[.:,)\]]\s*(?=\S)", re.IGNORECASE
)
# "5!" is 120. After a large number it is an exclamation mark, and in a sentence (the caller checks that).
_FACTORIAL = re.compile(r"(?<![0-9.A-Za-z])([0-9]|1[0-9]|20)!(?![=!])")


def without_labels_and_remarks(text: str) -> str:
    """`text`, from `plain_markup`, without option letters, names with a number, parts, working and remarks.

    "B. angle 1 is 65°" becomes "angle is 65°".
    """
    text = _OPTION.sub("", text)
    # Number words only if there are no digits.
    if re.fullmatch(r"[^0-9\\]*", text):
        text = with_digits(text)
    if not re.search(r"[A-Za-z]{2,}\s+[A-Za-z]", text):
        text = _FACTORIAL.sub(lambda match: str(factorial(int(match[1]))), text)
    # Signs that are not operators: hyphens in words, dashes before a remark; "minus" before a value is one.
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    text = re.sub(r"\s-\s+(?=[a-z]{3,})", "; ", text)
    text = re.sub(r"(?i)(^|[=≈:]|\bis\b)\s*minus\s+(?=[0-9\\])", r"\1 -", text)
    text = OR_EQUAL.sub(r"\1 than ", text)
    text = _ROUGHLY_BRACKETED.sub(_without_brackets, text)
    text = _EXACTLY.sub(" = ", _ROUGHLY.sub(" ≈ ", text))
    text = re.sub(r"^(\s*[0-9.]+)\s+to\s+(?=[0-9.]+\s*$)", r"\1:", text)  # "3 to 5" is a ratio
    # A label's number is removed only if another number is left.
    unlabelled = _LABEL.sub(r"\1", text)
    text = unlabelled if re.search(r"[0-9]|\\pi", unlabelled) else text
    return without_breakdown(text)


def _without_brackets(match: re.Match[str]) -> str:
    """(≈ 17.3) becomes ≈ 17.3, and (i.e. 17.3) becomes = 17.3."""
    exact = match["sign"] == "=" or re.fullmatch(_THAT_IS.partition("(?=")[0], match["sign"], re.IGNORECASE)
    return f" {'=' if exact else '≈'} {match['link']}"


# ----------------------------------------------------------------------------------------------------
# Parts, working and other remarks: "5 (2 red, 3 blue)", "65° (180° - 115°)", "72° (see the figure)"
#
# Parts are counts of named things, and their sum is not more than the whole. Working must give the value. Any other text
# in brackets becomes a clause; if it has a different value, the answer has two candidates.

# A value with its parts in brackets, "5 cubes (2 red, 3 blue)", or after a colon, "4 left: 2 cubes, 2 spheres".
_NOUNS = r"[^0-9()\[\]:;.,=<>≤≥≠±|\\\n]*"
_BRACKETED = re.compile(
    rf"(?<![0-9.^{{/*+-])(?P<whole>[0-9]+)(?P<noun>{_NOUNS})[(\[](?P<parts>[^()\[\]\\0-9]*[0-9][^()\[\]\\]*)[)\]]"
)
_LISTED = re.compile(
    rf"(?<![0-9.:^{{/*+-])(?P<whole>[0-9]+)(?P<noun>{_NOUNS})[:;](?P<parts>[^:;.()\\]*(?::[^:;.()\\]*)*)[.]?\s*$"
)
# One part: "2 red", "red: 2", "- 2 cubes".
_BETWEEN_PARTS = re.compile(r"[,;+&\n]|\b(?:and|plus)\b|和|与|及", re.IGNORECASE)
_WORDS = r"[A-Za-z\u3400-\u9fff][A-Za-z\u3400-\u9fff' -]*"
_PART = re.compile(rf"[-*\s]*(?P<before>{_WORDS})?\s*[:=]?\s*(?P<count>[0-9]+)\s*(?P<after>{_WORDS})?\s*")
# Makes a second candidate of what would be a part: "5 (maybe 4)".
_HEDGE = re.compile("or|maybe|perhaps|possibly|alternatively|also|otherwise|rather|either")
# "65° (180° - 115°)"
_WORKED = re.compile(
    r"(?P<value>[0-9]+(?:\.[0-9]+)?)(?P<sign>\s*[°%]?)\s+\((?P<working>[0-9.°%=\s]*[-+*/][-0-9.+*/°%=\s]*)\)"
)
# With a number, "72° (angle 1 = 72°)", and without one, "72° (see the figure)".
_REMARK = re.compile(r"(?<=[0-9°}%a-z])\s+\(([^()\\]*[A-Za-z°][^()\\]*)\)")
_ONLY_WORDS = re.compile(r"[(\[]([^()\[\]0-9πi√]*)[)\]]")


def without_breakdown(text: str) -> str:
    """`text` without the parts and the working of its value: "5 (2 red, 3 blue)" becomes "5"; remarks become clauses."""
    text = _LISTED.sub(lambda match: _without_parts(match, fewest=2), _BRACKETED.sub(_without_parts, text))
    text = _WORKED.sub(_without_working, text)
    return _REMARK.sub(_as_clause, _ONLY_WORDS.sub(r" \1 ", text))


def _without_parts(match: re.Match[str], fewest: int = 1) -> str:
    whole, noun = int(match["whole"]), match["noun"]
    unit = match_unit(noun, len(noun) - len(noun.lstrip()))
    # "2 red + 3 blue = 5" repeats the whole at its end.
    counts = _counts(re.sub(rf"=\s*{whole}\s*$", "", match["parts"]))
    is_count = unit is None or not unit[0].dimension
    return match["whole"] + noun if is_count and len(counts) >= fewest and sum(counts) <= whole else match[0]


def _counts(parts: str) -> list[int]:
    """[2, 3] for "2 red, 3 blue"; [] if the list has anything but counts of named things."""
    counts = []
    listed = [part for part in _BETWEEN_PARTS.split(parts) if part.strip()]
    for part in listed:
        match = _PART.fullmatch(part)
        if match is None or not _names_things(match["before"], match["after"], alone=len(listed) == 1):
            return []
        counts.append(int(match["count"]))
    return counts


def _names_things(before: str | None, after: str | None, alone: bool) -> bool:
    """Whether the words before and after a count name a thing, and not a unit or another candidate."""
    words = re.findall(r"[A-Za-z]+|[\u3400-\u9fff]+", f"{before or ''} {after or ''}".lower())
    if alone and (before or not after):  # "5 (2 red)", but not "5 (angle 2)"
        return False
    if any(pattern.fullmatch(word) for word in words for pattern in (CHANGING_WORD, CANDIDATE_WORD, _HEDGE)):
        return False
    return any(len(word) > 1 or word > "\u3400" for word in words) and not (after and match_unit(after, 0))


def _without_working(match: re.Match[str]) -> str:
    """Removes working that gives the value, such as 180° - 115° after 65°."""
    value = evaluate([match["value"]])
    sides = [re.findall(r"[0-9]+(?:\.[0-9]+)?|[-+*/]", side) for side in match["working"].split("=") if side.strip()]
    return match["value"] + match["sign"] if all(evaluate(side) == value for side in sides) else match[0]


def _as_clause(match: re.Match[str]) -> str:
    return " " if EXPLAINS.match(match[1]) else f"; {match[1]}"


# ----------------------------------------------------------------------------------------------------
# The value of a text

# Longer than any answer: the longest of 754 real ones has some fifty characters. It also limits the time spent here.
MAX_CHARACTERS = 500


@dataclass(frozen=True)
class Link:
    """A value in a chain of equalities; `nearly`: whether the sign after it is ≈."""

    value: Value
    nearly: bool


@dataclass(frozen=True)
class Reading:
    """The value of a text, and the earlier links of its chain: 17.32, and 10√3, for "10√3 ≈ 17.32"."""

    value: Value
    earlier: tuple[Link, ...] = ()


@lru_cache(maxsize=4096)
def read_single_value(text: str, symbols: frozenset[str] = NO_SYMBOLS) -> Reading | None:
    """The one value of `text`, or None if a person could not name one.

    read_single_value("B. 65°").value is 65 degrees. `symbols`: variables that the value may contain.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    plain = without_labels_and_remarks(plain_markup(text))
    try:
        for part in conclusion_then_whole(plain):
            found = _read_clauses(part, symbols)
            if found is not None:
                return found
    except Unreadable:
        return None
    return None


def can_read(gold: str) -> bool:
    """Whether `strict` reads a ground truth as one value: "65°" yes, "B" or "x > 3" no (other comparisons handle those)."""
    return read_single_value(str(gold)) is not None


# ----------------------------------------------------------------------------------------------------
# Clauses: "65°, because angle 1 = 50°" has one that gives the value and one that explains


def conclusion_then_whole(plain: str) -> list[str]:
    """The text after the last "therefore", if there is one, and then the whole text."""
    return [*(plain[match.end() :] for match in [*CONCLUSION.finditer(plain)][-1:]), plain]


@dataclass(frozen=True)
class Clause:
    """A clause, the word or sign that separates it from the one before (in lower case), and its value."""

    separator: str
    text: str
    reading: Reading | None


def main_clauses(text: str, symbols: frozenset[str]) -> list[Clause]:
    """The clauses without those that explain: "65°, because angle 1 = 50°" and "since x = 5, y = 6" have one.

    If only explanations have a value, all clauses. Unreadable if a clause changes the one before it: "5 or more".
    """
    clauses: list[Clause] = []
    explaining = leading = False  # in an explanation; in one that comes before the value
    has_value = False
    after_comma = True  # or a similar sign, or the start
    for separator, clause in _split(text):
        # "Since x = 5, and y = 6, z = 7": the premises end at a comma without "and".
        if explaining and (separator == "or" or (leading and separator in (",", ";", "\n") and clause.strip())):
            explaining = leading = False
        explains = EXPLAINS.match(separator) and not (EXPLAINS_WEAKLY.fullmatch(separator) and not after_comma)
        after_comma = not clause.strip() and not separator.isalpha()
        if explains and (has_value or not any(earlier.text.strip() for earlier in clauses)):
            explaining, leading = True, not has_value
        if explaining:
            continue
        bound = BOUND_AFTER.match(clause) if separator in ("or", "and", "或") else None
        if bound and (separator != "and" or (has_value and not bound["rest"].strip())):
            raise Unreadable("a bound")
        clauses.append(Clause(separator, clause, _read_chain(clause, symbols)))
        has_value = has_value or clauses[-1].reading is not None
    if has_value:
        return clauses
    return [Clause(separator, clause, _read_chain(clause, symbols)) for separator, clause in _split(text)]


def _split(text: str) -> list[tuple[str, str]]:
    """(separator, clause) in order: "65 or 115" gives ("", "65 ") and ("or", " 115")."""
    separators = [None, *CLAUSE_BREAK.finditer(text)]
    starts = [separator.end() if separator else 0 for separator in separators]
    ends = [separator.start() for separator in separators if separator] + [len(text)]
    return [
        (separator[0].lower() if separator else "", text[start:end])
        for separator, start, end in zip(separators, starts, ends, strict=True)
    ]


def _read_clauses(text: str, symbols: frozenset[str]) -> Reading | None:
    """The value in which all clauses with a value agree. Unreadable if two differ, unless one is the total of the others."""
    clauses = main_clauses(text, symbols)
    readings = [clause.reading for clause in clauses if clause.reading]
    if len({reading.value for reading in readings}) > 1 and not _same_number(readings):
        return _total(clauses)
    # Of equal readings, one with a unit, then the one with the longest chain.
    return max(readings, key=lambda reading: (reading.value.unit is not None, len(reading.earlier)), default=None)


def _total(clauses: list[Clause]) -> Reading:
    """5 in "2 red and 3 blue, 5 in total": one clause names a total, and the counts of the others add up to it."""
    wholes = [clause for clause in clauses if clause.reading and TOTAL.search(clause.text)]
    parts = [clause for clause in clauses if clause.reading and clause not in wholes]
    if len(wholes) == 1 and wholes[0].reading and len(parts) > 1:
        total = wholes[0].reading.value
        counts = [part.reading.value.number for part in parts if part.reading and not part.reading.value.unit]
        things = all(re.search(r"[0-9]\s*[A-Za-z]{3,}", part.text) for part in parts)
        if things and total.unit is None and None not in counts and sum(filter(None, counts)) == total.number:
            return wholes[0].reading
    raise Unreadable("several candidates")


def _same_number(readings: list[Reading]) -> bool:
    """65 and 65° are one candidate."""
    numbers = {reading.value.number for reading in readings}
    units = {reading.value.unit for reading in readings} - {None}
    return len(numbers) == 1 and None not in numbers and len(units) <= 1


# ----------------------------------------------------------------------------------------------------
# Chains of equalities: the links of "PQ = 2.4 * 5 / 1.5 = 8"

_EQUALS = re.compile(r"=|≈|\b(?:is|are|was|equals?(?:\s+to)?)\b|是|为|等于|约", re.IGNORECASE)
_NEARLY_EQUALS = ("≈", "约")
_NUMBER_ALONE = re.compile(r"\s*[-+]?[0-9]+(?:\.[0-9]+)?\s*[°%]?\s*")
# The left side of an equation in an unknown: 2x = 10 and x + 5 = 10 do not give a value of 10. Those with names of figures
# or functions do: x1 = 10, AB + BC = 10, f(2) = 10.
_NAMES = re.compile(r"\\[A-Za-z]+|(?P<word>[A-Za-z]{2,})")
_WITH_UNKNOWN = re.compile(
    r"[A-Za-z]\s*\}\s*\{\s*[0-9]|[0-9)}]\s*\*?\s*[A-Za-z]|[A-Za-z)}]\s*[-+*/^]\s*[{(]?\s*[0-9]|[0-9)}]\s*[-+*/^]\s*[{(]?\s*[A-Za-z]"
)


def _read_chain(clause: str, symbols: frozenset[str]) -> Reading | None:
    """The last link of a clause that gives a value, with the earlier ones that do: 8, and 2.4 * 5 / 1.5.

    None if no link has a value or the clause denies it. Unreadable for an equation in an unknown, a wrong chain, or a link
    after the last value that cannot be read.
    """
    if DENIED.search(clause):
        return None
    links = _EQUALS.split(clause)
    signs = [sign[0] for sign in _EQUALS.finditer(clause)]
    chain: list[Link] = []
    failed: Unreadable | None = None
    before = ""  # the last link, if it is a number and nothing else and "=" follows it
    for i, (link, sign) in enumerate(zip(links, [*signs, ""], strict=True)):
        nearly = sign in _NEARLY_EQUALS
        try:
            value = _read_ratio(link, symbols)
        except Unreadable as error:
            if i == 0 and _is_side_of_equation(link):
                raise
            failed, value = error, None
        if value is None:
            if chain and nearly:  # "10√3 is ≈ 17.3"
                chain[-1] = Link(chain[-1].value, nearly)
            continue
        if 0 < i < len(links) - 1 and re.search(r"[0-9}°]\s+[A-Za-z]*\s*[A-Za-z]\s*$", link) and value.unit is None:
            raise Unreadable("a second equality begins: x = 65 y = 115")
        is_number = _NUMBER_ALONE.fullmatch(link) is not None
        if before and is_number and not rounds_to(chain[-1].value, value):
            raise Unreadable("a chain that is wrong: 995 = 1000")
        chain.append(Link(value, nearly))
        before = link if is_number and sign == "=" else ""
        failed = None
    if failed:
        raise failed
    return Reading(chain[-1].value, tuple(chain[:-1])) if chain else None


def _is_side_of_equation(link: str) -> bool:
    """Whether a link is an expression in an unknown, such as 2x, so that its equation gives no value."""
    if any(name["word"] for name in _NAMES.finditer(link)):
        return re.search(r"[0-9]\*?[A-Z]{2,3}\s*$", link) is not None  # 3EC
    return _WITH_UNKNOWN.search(_NAMES.sub(" ", link)) is not None


# ----------------------------------------------------------------------------------------------------
# Ratios: "3:5"

# "5 left" in "5 left: 2 red": a list and not a ratio.
_NOUN_AFTER_NUMBER = re.compile(r"[0-9]\s*(?P<noun>[a-z]{3,}[^0-9]*)$")


def _read_ratio(text: str, symbols: frozenset[str]) -> Value | None:
    """3:5 is three fifths; 1:2:3 has two parts, 2/1 and 3/1. In "Answer: 65" there is no value before the colon."""
    texts = text.split(":")
    terms = [value for term in texts if (value := parse_value(term, symbols)) is not None]
    if len(terms) < 2:
        return terms[0] if terms else None
    nouns = filter(None, (_NOUN_AFTER_NUMBER.search(term) for term in texts[:-1]))
    if any(match_unit(noun[0], noun.start("noun") - noun.start()) is None for noun in nouns):
        raise Unreadable("a list and not a ratio: 5 left: 2 red")
    first, *others = terms
    if len(others) == 1:
        (second,) = others
        parts = (rf"\frac{{{first.parts[0]}}}{{{second.parts[0]}}}",)
        exact = first.number is not None and second.number is not None and second.number != 0
        return Value(parts, _quotient(first.number, second.number) if exact else None)
    return Value(tuple(rf"\frac{{{term.parts[0]}}}{{{first.parts[0]}}}" for term in others))


def _quotient(above: Fraction | None, below: Fraction | None) -> Fraction | None:
    return above / below if above is not None and below else None
