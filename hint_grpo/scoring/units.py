"""Units of measurement after a value: what they measure, and their size.

    cm, m^2, square metres, cm^2^, 平方米, 海里, km/h, degrees, °

A value without a unit equals one with any unit, because ground truths often omit theirs. Two units must measure the
same quantity and are converted: 0.5 m is 50 cm.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

# One line per unit: (quantity, power), size in the quantity's base unit, names. "s?" at the end of a name is an optional s.
# "units" and 单位 measure nothing, so that they fit any unit.
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
    for name in (  # both forms of "meters?": meter, meters
        form
        for pattern in names.split("|")
        for form in ([pattern[:-2], pattern[:-2] + "s"] if pattern.endswith("s?") else [pattern])
    )
}
_ANY_NAME = "|".join(sorted((re.escape(name).replace(r"\ ", r"\s+") for name in _NAMES), key=len, reverse=True))
_POWER_WORDS = {"square": 2, "sq": 2, "平方": 2, "cubic": 3, "立方": 3, "squared": 2, "cubed": 3}
# One unit with its power: "square cm", "cm^2", "cm^{2}", "cm2", "cm squared", "平方米". Never directly before another letter.
_ONE = re.compile(
    rf"(?:(?P<before>(?i:square|sq|cubic)(?=[\s.])|平方|立方)\.?\s*)?"
    rf"(?:(?P<name>(?i:{_ANY_NAME}))(?![A-Za-z]))"
    rf"(?:\s*\^\s*\{{?\s*(?P<power>[1-9](?:\.0)?)\s*\}}?\^?|(?P<digit>[23])(?![0-9.])|\s+(?P<after>(?i:squared|cubed))\b)?"
)
# Between the two units of a quotient: "km/h", "km per h".
_PER = re.compile(r"\s*(?:/|\bper\b|每)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """A unit, such as km/h: `dimension` (("length", 1), ("time", -1)), sorted; `size` 1000/3600 of the base units."""

    dimension: tuple[tuple[str, int], ...]
    size: Fraction


def match_unit(text: str, start: int) -> tuple[Unit, int] | None:
    """The unit that begins at `start`, and the position after it; None if there is none.

    match_unit("5 cm long", 2) gives centimetres and 4.
    """
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
    """Dimension, size and end of a unit that is not a quotient."""
    match = _ONE.match(text, start)
    if match is None:
        return None
    name = re.sub(r"\s+", " ", match["name"])
    # Case matters for names of one letter: M is a point of the figure, m is a metre.
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


def conversion_factor(answer: Unit | None, gold: Unit | None) -> Fraction | None:
    """The factor that converts the answer's value to the ground truth's unit; None if they measure different quantities.

    Centimetres to metres: 1/100. 1 if one of them has no unit.
    """
    if answer is None or gold is None or not answer.dimension or not gold.dimension:
        return Fraction(1)
    if answer.dimension != gold.dimension:
        return None
    return answer.size / gold.size
