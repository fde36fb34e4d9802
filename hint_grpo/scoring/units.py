"""Units of measurement behind a value: what is measured, and how large the unit is.

    cm, m^2, square metres, cm^2^, 平方米, 海里, km/h, degrees, °

A value without a unit equals one with any unit (ground truths often drop theirs); two units must measure the same
thing, and 0.5 m is 50 cm.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

# One line per unit: what it measures, to which power, its size in the base unit, its names.
_NAMES: dict[str, tuple[str, int, Fraction]] = {
    name: (*measured, Fraction(size))
    for measured, size, names in (
        (("length", 1), "0.001", "mm|millimeters?|millimetres?|毫米"),
        (("length", 1), "0.01", "cm|cms|centimeters?|centimetres?|厘米|公分"),
        (("length", 1), "0.1", "dm|decimeters?|decimetres?|分米"),
        (("length", 1), "1", "m|meters?|metres?|米"),
        (("length", 1), "1000", "km|kms|kilometers?|kilometres?|千米|公里"),
        (("length", 1), "1852", "nautical miles?|sea miles?|n miles?|nmi|海里"),
        (("length", 1), "1609.344", "miles?"),
        (("length", 1), "0.0254", "inch|inches"),
        (("length", 1), "0.3048", "ft|foot|feet"),
        (("length", 1), "0.9144", "yards?|yd"),
        (("time", 1), "1", "s|sec|secs|seconds?|秒"),
        (("time", 1), "60", "min|mins|minutes?|分钟|分"),
        (("time", 1), "3600", "h|hr|hrs|hours?|小时|时"),
        (("time", 1), "86400", "days?|天"),
        (("angle", 1), "1", "°|degrees?|deg|度"),
        (("mass", 1), "0.001", "g|grams?|克"),
        (("mass", 1), "1", "kg|kgs|kilograms?|千克|公斤"),
        (("money", 1), "1", "元|yuan"),
        (("dollar", 1), "1", "dollars?"),
        (("length", 3), "0.001", "L|liters?|litres?|升"),
        (("length", 3), "0.000001", "mL|ml|milliliters?|millilitres?|毫升"),
        (("none", 1), "1", "units?|单位"),
    )
    for name in (
        form
        for pattern in names.split("|")
        for form in ([pattern[:-2], pattern[:-2] + "s"] if pattern.endswith("s?") else [pattern])
    )
}
_ANY_NAME = "|".join(sorted((re.escape(name).replace(r"\ ", r"\s+") for name in _NAMES), key=len, reverse=True))
_POWER_WORDS = {"square": 2, "sq": 2, "平方": 2, "cubic": 3, "立方": 3, "squared": 2, "cubed": 3}
# Names of two or more letters in any case; names of one letter as they are, and never before another letter.
_ONE = re.compile(
    rf"(?:(?P<before>(?i:square|sq|cubic)(?=[\s.])|平方|立方)\.?\s*)?"
    rf"(?:(?P<name>(?i:{_ANY_NAME}))(?![A-Za-z]))"
    rf"(?:\s*\^\s*\{{?\s*(?P<power>[1-9](?:\.0)?)\s*\}}?\^?|(?P<digit>[23])(?![0-9.])|\s+(?P<after>(?i:squared|cubed))\b)?"
)
_PER = re.compile(r"\s*(?:/|\bper\b|每)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """`dimension` holds (what is measured, power) pairs, sorted; `size` is in base units."""

    dimension: tuple[tuple[str, int], ...]
    size: Fraction


def match_unit(text: str, start: int) -> tuple[Unit, int] | None:
    """The unit that stands at `start` and where it ends; None where none does."""
    found = _match_one(text, start)
    if found is None:
        return None
    dimension, size, end = found
    per = _PER.match(text, end)
    below = _match_one(text, per.end()) if per else None
    if below:
        for measured, power in below[0].items():
            dimension[measured] = dimension.get(measured, 0) - power
        size, end = size / below[1], below[2]
    dimension.pop("none", None)
    return Unit(tuple(sorted(dimension.items())), size), end


def _match_one(text: str, start: int) -> tuple[dict[str, int], Fraction, int] | None:
    match = _ONE.match(text, start)
    if match is None:
        return None
    name = re.sub(r"\s+", " ", match["name"])
    # Case counts for names of one letter: M is a point of the figure, m is a metre.
    unit = _NAMES.get(name if len(name) == 1 else name.lower()) or _NAMES.get(name)
    if unit is None:
        return None
    measured, base_power, size = unit
    power = 1
    if word := match["before"] or match["after"]:
        power = _POWER_WORDS[word.lower()]
    elif digits := match["power"] or match["digit"]:
        power = int(float(digits))
    return {measured: base_power * power}, size**power, match.end()


def conversion(answer: Unit | None, gold: Unit | None) -> Fraction | None:
    """What to multiply the answer with to have it in the ground truth's unit; None where no factor does it."""
    if answer is None or gold is None or not answer.dimension or not gold.dimension:
        return Fraction(1)
    if answer.dimension != gold.dimension:
        return None
    return answer.size / gold.size
