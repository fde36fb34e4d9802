"""The toy world's tasks: a picture to draw, a question, a correct reasoning in 3 to 6 steps, and the answer.

Two kinds of picture. A *grid* of 3 x 3 places, some of which hold a disc or a square in a colour: things to count. A *fan*
of rays from one point O: angles to read off, in tens of degrees. Where `needs_picture` is False, the numbers stand in the
question (text alone answers it, and the picture agrees); otherwise at least one number is to be read off the picture.

Tasks are pure values: drawing is in `pictures`, the two file layouts are in `records` and `world`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

COLOURS = ("red", "blue", "green")
SHAPES = ("disc", "square")
GRID_SIDE = 3
SMALLEST_ANGLE, LARGEST_ANGLE = 20, 80  # of two neighbouring rays, degrees


@dataclass(frozen=True, slots=True)
class Item:
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Grid:
    """Nine places, row by row; None is an empty one."""

    places: tuple[Item | None, ...]

    def row_counts(self, colour: str) -> tuple[int, ...]:
        rows = (self.places[i : i + GRID_SIDE] for i in range(0, len(self.places), GRID_SIDE))
        return tuple(sum(item is not None and item.colour == colour for item in row) for row in rows)


@dataclass(frozen=True, slots=True)
class Fan:
    """Rays OA, OB, ... counted from the right: `angles[0]` is angle AOB, `angles[1]` angle BOC, and so on."""

    angles: tuple[int, ...]
    straight_end: bool = False  # whether one more ray lies opposite to OA


@dataclass(frozen=True, slots=True)
class Task:
    kind: str
    source: Literal["CLEVR_v1.0", "geoqa+"]  # the folder of LLaVA-CoT-100k that such a picture would lie in
    picture: Grid | Fan
    question: str
    steps: tuple[str, ...]
    solution: str
    needs_picture: bool


@dataclass(frozen=True, slots=True)
class Habits:
    """How often each item and angle is drawn. The world draws evenly; the warm-up's lopsided ones make a text bias."""

    angle_weights: tuple[int, ...] = (1,) * ((LARGEST_ANGLE - SMALLEST_ANGLE) // 10 + 1)
    colour_weights: tuple[int, ...] = (1, 1, 1)


EVEN = Habits()


def _angles(rng: random.Random, habits: Habits, count: int, limit: int = 160) -> tuple[int, ...]:
    """`count` angles in tens of degrees that add up to at most `limit`."""
    choices = range(SMALLEST_ANGLE, LARGEST_ANGLE + 1, 10)
    while True:
        angles = tuple(rng.choices(choices, habits.angle_weights, k=count))
        if sum(angles) <= limit:
            return angles


def _grid(rng: random.Random, habits: Habits) -> Grid:
    colours = rng.choices(COLOURS, habits.colour_weights, k=GRID_SIDE**2)
    return Grid(tuple(Item(c, rng.choice(SHAPES)) if rng.random() < 0.7 else None for c in colours))


def count_in(grid: Grid, colour: str) -> Task:
    """How many items of one colour: to be counted in the picture, row by row."""
    counts = grid.row_counts(colour)
    steps = [f"Row {number} has {count}." for number, count in enumerate(counts, 1)]
    steps.append(f"The total is {' + '.join(map(str, counts))} = {sum(counts)}.")
    question = f"How many {colour} items are in the picture?"
    return Task("count", "CLEVR_v1.0", grid, question, tuple(steps), str(sum(counts)), True)


def _count_rows(rng: random.Random, habits: Habits) -> Task:
    return count_in(_grid(rng, habits), rng.choice(COLOURS))


def _count_rest(rng: random.Random, habits: Habits) -> Task:
    grid, colour = _grid(rng, habits), rng.choice(COLOURS)
    total, others = sum(item is not None for item in grid.places), sum(grid.row_counts(colour))
    question = f"There are {total} items and {others} of them are {colour}. How many items are not {colour}?"
    steps = (
        f"There are {total} items.",
        f"{others} are {colour}.",
        f"The rest is {total} - {others} = {total - others}.",
    )
    return Task("count-given", "CLEVR_v1.0", grid, question, steps, str(total - others), False)


def _angle_supplement(rng: random.Random, habits: Habits) -> Task:
    (first,) = _angles(rng, habits, 1)
    steps = (
        f"Angle AOB is {first}°.",
        "Angle AOC is 180°.",
        f"Angle BOC is 180° - {first}° = {180 - first}°.",
    )
    question = "As shown in the figure, AOC is a straight line, then the degree of angle BOC is ()"
    return Task("supplement", "geoqa+", Fan((first,), True), question, steps, f"{180 - first}°", True)


def _angle_sum(rng: random.Random, habits: Habits) -> Task:
    first, second = angles = _angles(rng, habits, 2)
    steps = (
        f"Angle AOB is {first}°.",
        f"Angle BOC is {second}°.",
        "Angle AOC is their sum.",
        f"Angle AOC is {first}° + {second}° = {first + second}°.",
    )
    question = "As shown in the figure, OB lies inside angle AOC, then the degree of angle AOC is ()"
    return Task("sum", "geoqa+", Fan(angles), question, steps, f"{first + second}°", True)


def _angle_remainder(rng: random.Random, habits: Habits, given: int = 0) -> Task:
    """Angle COD of a straight line AOD; the first `given` of the two other angles stand in the question."""
    first, second = angles = _angles(rng, habits, 2)
    known = "".join(
        f", angle {name} = {size:.1f}" for name, size in list(zip(("AOB", "BOC"), angles, strict=True))[:given]
    )
    steps = (
        f"Angle AOB is {first}°.",
        f"Angle BOC is {second}°.",
        f"Angle AOC is {first}° + {second}° = {first + second}°.",
        f"Angle COD is 180° - {first + second}° = {180 - first - second}°.",
    )
    question = f"As shown in the figure, AOD is a straight line{known}, then the degree of angle COD is ()"
    kind = ("remainder", "remainder-half-given", "remainder-given")[given]
    return Task(kind, "geoqa+", Fan(angles, True), question, steps, f"{180 - first - second}°", given < len(angles))


def _angle_half_given(rng: random.Random, habits: Habits) -> Task:
    return _angle_remainder(rng, habits, given=1)


def _angle_given(rng: random.Random, habits: Habits) -> Task:
    return _angle_remainder(rng, habits, given=2)


def _angle_three(rng: random.Random, habits: Habits) -> Task:
    angles = _angles(rng, habits, 3)
    total = angles[0] + angles[1]
    steps = (
        *(f"Angle {name} is {size}°." for name, size in zip(("AOB", "BOC", "COD"), angles, strict=True)),
        f"Angle AOC is {angles[0]}° + {angles[1]}° = {total}°.",
        f"Angle AOD is {total}° + {angles[2]}° = {total + angles[2]}°.",
    )
    question = "As shown in the figure, OB and OC lie inside angle AOD, then the degree of angle AOD is ()"
    return Task("three", "geoqa+", Fan(angles), question, steps, f"{total + angles[2]}°", True)


Maker = Callable[[random.Random, Habits], Task]
COUNTING: tuple[Maker, ...] = (_count_rows, _count_rows, _count_rest)
GEOMETRY: tuple[Maker, ...] = (
    _angle_supplement,
    _angle_sum,
    _angle_remainder,
    _angle_half_given,
    _angle_given,
    _angle_three,
)


def make_task(rng: random.Random, makers: Sequence[Maker] = COUNTING + GEOMETRY, habits: Habits = EVEN) -> Task:
    return rng.choice(makers)(rng, habits)


def make_tasks(
    name: str, count: int, makers: Sequence[Maker] = COUNTING + GEOMETRY, habits: Habits = EVEN
) -> list[Task]:
    """`count` tasks of the stream `name`. Every task has its own generator: a larger count keeps the first ones."""
    return [make_task(random.Random(f"{name}/{index}"), makers, habits) for index in range(count)]
