"""An answer or a ground truth as a person reads it: the one value it gives, or nothing.

    "B. 65°"                    65 degrees          "65° or 115°"        nothing: a list of candidates
    "AB = 2\\sqrt{3} ≈ 3.46"    2√3, or 3.46        "more than 65"       nothing: a bound
    "The angle is 65 degrees."  65 degrees          "995 = 1000"         nothing: a chain that is wrong
    "3:5"                       three fifths        "5 (2 red, 3 blue)"  5

From the outside in: markup, labels and brackets; clauses; chains of equalities; ratios; then `values.read_value`.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import factorial

from hint_grpo.scoring.markup import plain_markup, with_digits
from hint_grpo.scoring.option_letters import CLOSE, OPEN, UNLISTED
from hint_grpo.scoring.units import match_unit
from hint_grpo.scoring.values import NO_SYMBOLS, Unreadable, Value, evaluate, read_value
from hint_grpo.scoring.wording import (
    BOUND_BEHIND,
    CANDIDATE_WORD,
    CHANGING_WORD,
    CONCLUSION,
    DENIED,
    EXPLAINS,
    EXPLAINS_WEAKLY,
    JOINT,
    OR_EQUAL,
    TOTAL,
)

# ----------------------------------------------------------------------------------------------------
# What a writer adds to a value without giving another one: its parts, its working, a remark in brackets.
#
#     "5 (2 red, 3 blue)"   "There are 4 objects left: 2 cubes, 2 spheres"   "65° (180° - 115°)"   "72° (see the figure)"
#
# The parts of a whole are counts of named things, and together they are not more than it; working must give the value.
# Anything else in brackets stays as a clause, and where it holds another value the answer holds two.

_NOUNS = r"[^0-9()\[\]:;.,=<>≤≥≠±|\\\n]*"
_BRACKETED = re.compile(
    rf"(?<![0-9.^{{/*+-])(?P<whole>[0-9]+)(?P<noun>{_NOUNS})[(\[](?P<parts>[^()\[\]\\0-9]*[0-9][^()\[\]\\]*)[)\]]"
)
_LISTED = re.compile(
    rf"(?<![0-9.:^{{/*+-])(?P<whole>[0-9]+)(?P<noun>{_NOUNS})[:;](?P<parts>[^:;.()\\]*(?::[^:;.()\\]*)*)[.]?\s*$"
)
_BETWEEN_PARTS = re.compile(r"[,;+&\n]|\b(?:and|plus)\b|和|与|及", re.IGNORECASE)
_WORDS = r"[A-Za-z\u3400-\u9fff][A-Za-z\u3400-\u9fff' -]*"
_PART = re.compile(rf"[-*\s]*(?P<before>{_WORDS})?\s*[:=]?\s*(?P<count>[0-9]+)\s*(?P<behind>{_WORDS})?\s*")
_HEDGE = re.compile("or|maybe|perhaps|possibly|alternatively|also|otherwise|rather|either")
_WORKED = re.compile(
    r"(?P<value>[0-9]+(?:\.[0-9]+)?)(?P<sign>\s*[°%]?)\s+\((?P<working>[0-9.°%=\s]*[-+*/][-0-9.+*/°%=\s]*)\)"
)
_REMARK = re.compile(r"(?<=[0-9°}%a-z])\s+\(([^()\\]*[A-Za-z°][^()\\]*)\)")
_ONLY_WORDS = re.compile(r"[(\[]([^()\[\]0-9πi√]*)[)\]]")


def without_breakdown(text: str) -> str:
    """`text` without the parts and the working of its value; other remarks in brackets become clauses."""
    text = _LISTED.sub(lambda match: _without_parts(match, fewest=2), _BRACKETED.sub(_without_parts, text))
    text = _WORKED.sub(_without_working, text)
    return _REMARK.sub(_as_clause, _ONLY_WORDS.sub(r" \1 ", text))


def _without_parts(match: re.Match[str], fewest: int = 1) -> str:
    whole, noun = int(match["whole"]), match["noun"]
    unit = match_unit(noun, len(noun) - len(noun.lstrip()))
    counts = _counts(re.sub(rf"=\s*{whole}\s*$", "", match["parts"]))
    is_count = unit is None or not unit[0].dimension
    return match["whole"] + noun if is_count and len(counts) >= fewest and sum(counts) <= whole else match[0]


def _counts(parts: str) -> list[int]:
    """[2, 3] of "2 red, 3 blue"; [] where anything but counts of named things is listed."""
    counts = []
    listed = [part for part in _BETWEEN_PARTS.split(parts) if part.strip()]
    for part in listed:
        match = _PART.fullmatch(part)
        if match is None or not _names_things(match["before"], match["behind"], alone=len(listed) == 1):
            return []
        counts.append(int(match["count"]))
    return counts


def _names_things(before: str | None, behind: str | None, alone: bool) -> bool:
    words = re.findall(r"[A-Za-z]+|[\u3400-\u9fff]+", f"{before or ''} {behind or ''}".lower())
    if alone and (before or not behind):  # "5 (2 red)", but not "5 (angle 2)"
        return False
    if any(pattern.fullmatch(word) for word in words for pattern in (CHANGING_WORD, CANDIDATE_WORD, _HEDGE)):
        return False
    return any(len(word) > 1 or word > "\u3400" for word in words) and not (behind and match_unit(behind, 0))


def _without_working(match: re.Match[str]) -> str:
    value = evaluate([match["value"]])
    sides = [re.findall(r"[0-9]+(?:\.[0-9]+)?|[-+*/]", side) for side in match["working"].split("=") if side.strip()]
    return match["value"] + match["sign"] if all(evaluate(side) == value for side in sides) else match[0]


def _as_clause(match: re.Match[str]) -> str:
    return " " if EXPLAINS.match(match[1]) else f"; {match[1]}"


# Longer than any answer: the longest of 754 real ones has some fifty characters. It also bounds the work done here.
MAX_CHARACTERS = 500

_EQUALS = re.compile(r"=|≈|\b(?:is|are|was|equals?(?:\s+to)?)\b|是|为|等于|约", re.IGNORECASE)
_NEARLY_EQUALS = ("≈", "约")
_APPROXIMATELY = r"(?:or\s+)?\b(?:approximately|about|approx\b\.?|roughly)(?=\s*[-0-9.√\\])"
_THAT_IS = r"\b(?:i\.e\.?,?|that is,?)(?=\s*[-0-9.√\\])"
_ROUGHLY_BRACKETED = re.compile(rf"\(\s*(?P<sign>≈|=|{_APPROXIMATELY}|{_THAT_IS})(?P<link>[^()]*)\)", re.IGNORECASE)
_ROUGHLY = re.compile(rf"[,;]?\s*{_APPROXIMATELY}", re.IGNORECASE)
_EXACTLY = re.compile(rf"[,;]?\s*{_THAT_IS}", re.IGNORECASE)
# "angle 1 is 65": the 1 is a name, unless it carries degrees itself.
_LABEL = re.compile(
    r"\b(angle|figure|question|problem|option|choice|step|case|part|line|circle|point|no\.?)\s*#?[0-9]+\b(?!\s*[.°:][0-9]|\s*°)",
    re.IGNORECASE,
)
_OPTION = re.compile(
    rf"^\s*(?:(?:option|choice|answer)\s*:?\s*)?{OPEN}?({UNLISTED}){CLOSE}?\s*[.:,)\]]\s*(?=\S)", re.IGNORECASE
)
# 2x = 10 and x + 5 = 10 do not say that something is 10; x1 = 10, AB + BC = 10 and f(2) = 10 do.
_NAMES = re.compile(r"\\[A-Za-z]+|(?P<word>[A-Za-z]{2,})")
_WITH_UNKNOWN = re.compile(
    r"[A-Za-z]\s*\}\s*\{\s*[0-9]|[0-9)}]\s*\*?\s*[A-Za-z]|[A-Za-z)}]\s*[-+*/^]\s*[{(]?\s*[0-9]|[0-9)}]\s*[-+*/^]\s*[{(]?\s*[A-Za-z]"
)
# 5! is 120; in a sentence, and behind a large number, it is an exclamation.
_FACTORIAL = re.compile(r"(?<![0-9.A-Za-z])([0-9]|1[0-9]|20)!(?![=!])")
_NOUN_BEHIND_NUMBER = re.compile(r"[0-9]\s*(?P<noun>[a-z]{3,}[^0-9]*)$")
_NUMBER_ALONE = re.compile(r"\s*[-+]?[0-9]+(?:\.[0-9]+)?\s*[°%]?\s*")


@dataclass(frozen=True)
class Link:
    """A value in a chain of equalities, and whether the sign behind it is ≈."""

    value: Value
    nearly: bool


@dataclass(frozen=True)
class Reading:
    """The value read, and the earlier links of its chain of equalities (10√3 in "10√3 ≈ 17.32")."""

    value: Value
    earlier: tuple[Link, ...] = ()


@lru_cache(maxsize=4096)
def read(text: str, symbols: frozenset[str] = NO_SYMBOLS) -> Reading | None:
    """What `text` says, or None where a person could not name one value. `symbols`: variables the value may hold."""
    if len(text) > MAX_CHARACTERS:
        return None
    plain = undressed(plain_markup(text))
    try:
        for part in conclusions(plain):
            found = _read_clauses(part, symbols)
            if found is not None:
                return found
    except Unreadable:
        return None
    return None


def conclusions(plain: str) -> list[str]:
    """What follows the last "therefore", where there is one, and then the whole text."""
    return [*(plain[match.end() :] for match in [*CONCLUSION.finditer(plain)][-1:]), plain]


def undressed(text: str) -> str:
    """Without option letters, names that hold a number, breakdowns and remarks, and hyphens inside words."""
    text = _OPTION.sub("", text)
    if re.fullmatch(r"[^0-9\\]*", text):
        text = with_digits(text)
    if not re.search(r"[A-Za-z]{2,}\s+[A-Za-z]", text):
        text = _FACTORIAL.sub(lambda match: str(factorial(int(match[1]))), text)
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    text = re.sub(r"\s-\s+(?=[a-z]{3,})", "; ", text)
    text = re.sub(r"(?i)(^|[=≈:]|\bis\b)\s*minus\s+(?=[0-9\\])", r"\1 -", text)
    text = OR_EQUAL.sub(r"\1 than ", text)
    text = _ROUGHLY_BRACKETED.sub(_continued, text)
    text = _EXACTLY.sub(" = ", _ROUGHLY.sub(" ≈ ", text))
    text = re.sub(r"^(\s*[0-9.]+)\s+to\s+(?=[0-9.]+\s*$)", r"\1:", text)  # 3 to 5, said of a ratio
    unlabelled = _LABEL.sub(r"\1", text)
    text = unlabelled if re.search(r"[0-9]|\\pi", unlabelled) else text
    return without_breakdown(text)


def _continued(match: re.Match[str]) -> str:
    exact = match["sign"] == "=" or re.fullmatch(_THAT_IS.partition("(?=")[0], match["sign"], re.IGNORECASE)
    return f" {'=' if exact else '≈'} {match['link']}"


@dataclass(frozen=True)
class Clause:
    """A clause, the word or sign before it, and what it says."""

    joint: str
    text: str
    reading: Reading | None


def main_clauses(text: str, symbols: frozenset[str]) -> list[Clause]:
    """The clauses less those that explain: "65°, because angle 1 = 50°", "since x = 5, y = 6".

    Unreadable where a clause takes the one before it back: "5 or more".
    """
    clauses: list[Clause] = []
    explaining = leading = said = False
    parted = True  # by a comma or the like, from what stands before
    for joint, clause in _split(text):
        # "Since x = 5, and y = 6, z = 7": the premises end at a comma without "and".
        if explaining and (joint == "or" or (leading and joint in (",", ";", "\n") and clause.strip())):
            explaining = leading = False
        explains = EXPLAINS.match(joint) and not (EXPLAINS_WEAKLY.fullmatch(joint) and not parted)
        parted = not clause.strip() and not joint.isalpha()
        if explains and (said or not any(earlier.text.strip() for earlier in clauses)):
            explaining, leading = True, not said
        if explaining:
            continue
        bound = BOUND_BEHIND.match(clause) if joint in ("or", "and", "或") else None
        if bound and (joint != "and" or (said and not bound["rest"].strip())):
            raise Unreadable("a bound")
        clauses.append(Clause(joint, clause, _read_chain(clause, symbols)))
        said = said or clauses[-1].reading is not None
    if said:
        return clauses
    return [Clause(joint, clause, _read_chain(clause, symbols)) for joint, clause in _split(text)]


def _split(text: str) -> list[tuple[str, str]]:
    joints = [None, *JOINT.finditer(text)]
    starts = [joint.end() if joint else 0 for joint in joints]
    ends = [joint.start() for joint in joints if joint] + [len(text)]
    return [
        (joint[0].lower() if joint else "", text[start:end])
        for joint, start, end in zip(joints, starts, ends, strict=True)
    ]


def _read_clauses(text: str, symbols: frozenset[str]) -> Reading | None:
    """The value that every clause with a value gives. Unreadable where two clauses give different ones."""
    clauses = main_clauses(text, symbols)
    readings = [clause.reading for clause in clauses if clause.reading]
    if len({reading.value for reading in readings}) > 1 and not _same_number(readings):
        return _total(clauses)
    return max(readings, key=lambda reading: (reading.value.unit is not None, len(reading.earlier)), default=None)


def _total(clauses: list[Clause]) -> Reading:
    """5 of "2 red and 3 blue, 5 in total": one clause names a total, and the others' counts add up to it."""
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


def _read_chain(clause: str, symbols: frozenset[str]) -> Reading | None:
    """The last link of `PQ = 2.4 * 5 / 1.5 = 8` that gives a value, with the earlier ones that do."""
    if DENIED.search(clause):
        return None
    links = _EQUALS.split(clause)
    signs = [sign[0] for sign in _EQUALS.finditer(clause)]
    chain: list[Link] = []
    failed: Unreadable | None = None
    before = ""  # the last link that is a number and nothing else, where "=" follows it
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
    if any(name["word"] for name in _NAMES.finditer(link)):
        return re.search(r"[0-9]\*?[A-Z]{2,3}\s*$", link) is not None  # 3EC
    return _WITH_UNKNOWN.search(_NAMES.sub(" ", link)) is not None


def rounds_to(value: Value, rounded: Value) -> bool | None:
    """Whether a number is the other one, or becomes it by rounding; None where one is not known as a number."""
    if value.number is None or rounded.number is None:
        return None
    return abs(value.number - rounded.number) <= Fraction(1, 2 * 10 ** decimals(rounded))


def decimals(value: Value) -> int:
    """How many digits stand behind the point of a plain number; many where it is none, which nothing rounds to."""
    whole = re.fullmatch(r"-?[0-9]+(?:\.([0-9]+))?", value.parts[0])
    return len(whole[1] or "") if whole else MAX_CHARACTERS


def _read_ratio(text: str, symbols: frozenset[str]) -> Value | None:
    """3:5 is three fifths, 1:2:3 keeps its terms; in "Answer: 65" nothing stands before the colon."""
    texts = text.split(":")
    terms = [value for term in texts if (value := read_value(term, symbols)) is not None]
    if len(terms) < 2:
        return terms[0] if terms else None
    nouns = filter(None, (_NOUN_BEHIND_NUMBER.search(term) for term in texts[:-1]))
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


def can_read(gold: str) -> bool:
    """Whether a ground truth is a value that `strict` reads; others are compared as words or as they stand."""
    return read(str(gold)) is not None
