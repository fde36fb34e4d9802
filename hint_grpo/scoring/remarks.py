"""Removes what a writer puts around a value without changing it: labels, hedges, its parts, its working, remarks.

    "B. 65°"   "angle 1 is 65°"   "10√3 (i.e. 17.32)"                                 labels and hedges
    "5 (2 red, 3 blue)"   "There are 4 objects left: 2 cubes, 2 spheres"              parts
    "65° (180° - 115°)"   "72° (see the figure)"                                      working, remark

The step between `markup.py` and the clauses of `single_value.py` or `several_values.py`.
"""

import re
from math import factorial

from hint_grpo.scoring.expressions import evaluate
from hint_grpo.scoring.vocabulary import (
    CANDIDATE_WORD,
    CHANGING_WORD,
    CLOSE,
    EXPLAINS,
    OPEN,
    OR_EQUAL,
    UNLISTED,
    match_unit,
    with_digits,
)

# ----------------------------------------------------------------------------------------------------
# Labels and hedges

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
# Parts, working and remarks
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
