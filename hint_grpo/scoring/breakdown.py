"""What a writer adds to a value without giving another one: its parts, its working, a remark in brackets.

    "5 (2 red, 3 blue)"   "There are 4 objects left: 2 cubes, 2 spheres"   "65° (180° - 115°)"   "72° (see the figure)"

The parts of a whole are counts of named things, and together they are not more than it; working must give the value.
Anything else in brackets stays as a clause, and where it holds another value the answer holds two.
"""

import re

from hint_grpo.scoring.arithmetic import evaluate
from hint_grpo.scoring.units import match_unit
from hint_grpo.scoring.wording import CANDIDATE_WORD, CHANGING_WORD, EXPLAINS

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
