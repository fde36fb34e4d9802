"""The toy world's tasks: a picture to draw, a question, a correct reasoning in 3 to 5 steps, and the answer.

Two kinds of picture. A *grid* of 3 x 3 places, some of which hold a disc or a square in a colour: things to count. A
*fan* of rays from one point O: angles to read off, in tens of degrees. Where `needs_picture` is False, the numbers
stand in the question (text alone answers it, and the picture agrees); otherwise at least one is to be read off.

A reasoning is told by a `Teller`. The honest one, which gives `steps` and `solution`, reads and computes without fault;
`lessons` has a careless one. Drawing is in `pictures`, the file layouts are in `records` and `world`.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("red", "blue", "green")
SHAPES = ("disc", "square")
GRID_SIDE = 3
SHARE_FILLED = 0.7  # of the grid's places
ANGLES = range(20, 90, 10)  # between two neighbouring rays, degrees
LARGEST_FAN = 160
STRAIGHT = 180
Angles = tuple[int, ...]


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

    @property
    def num_items(self) -> int:
        return sum(item is not None for item in self.places)


@dataclass(frozen=True, slots=True)
class Fan:
    """Rays OA, OB, ... counted from the right: `angles[0]` is angle AOB, `angles[1]` angle BOC, and so on."""

    angles: Angles
    straight_end: bool = False  # whether one more ray lies opposite to OA


class Teller(Protocol):
    """Who tells a reasoning: the number to write where `true` is right."""

    def read(self, true: int, options: Sequence[int]) -> int: ...

    def compute(self, true: int, unit: int) -> int: ...


class Honest:
    def read(self, true: int, options: Sequence[int]) -> int:
        return true

    def compute(self, true: int, unit: int) -> int:
        return true


@dataclass(frozen=True, slots=True)
class Telling:
    steps: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Task:
    kind: str
    source: Literal["CLEVR_v1.0", "geoqa+"]  # the folder of LLaVA-CoT-100k that such a picture would lie in
    picture: Grid | Fan
    question: str
    needs_picture: bool
    tell: Callable[[Teller], Telling] = field(compare=False, repr=False)

    @property
    def steps(self) -> tuple[str, ...]:
        return self.tell(Honest()).steps

    @property
    def solution(self) -> str:
        return self.tell(Honest()).answer


# Counting


def _tell_rows(counts: Sequence[int], teller: Teller) -> Telling:
    told = [teller.read(count, range(GRID_SIDE + 1)) for count in counts]
    total = teller.compute(sum(told), 1)
    rows = [f"Row {number} has {count}." for number, count in enumerate(told, 1)]
    return Telling((*rows, f"The total is {' + '.join(map(str, told))} = {total}."), str(total))


def count_rows(grid: Grid, colour: str) -> Task:
    """How many items of one colour: to be counted in the picture, row by row."""
    question = f"How many {colour} items are in the picture?"
    return Task("count", "CLEVR_v1.0", grid, question, True, partial(_tell_rows, grid.row_counts(colour)))


def _tell_rest(total: int, part: int, colour: str, teller: Teller) -> Telling:
    total, part = teller.read(total, range(10)), teller.read(part, range(GRID_SIDE + 1))
    rest = teller.compute(total - part, 1)
    steps = (
        f"The number of items is {total}.",
        f"The number of {colour} items is {part}.",
        f"The rest is {total} - {part} = {rest}.",
    )
    return Telling(steps, str(rest))


def count_rest(grid: Grid, colour: str) -> Task:
    """How many items are left without one colour: both numbers stand in the question."""
    total, part = grid.num_items, sum(grid.row_counts(colour))
    question = f"The picture holds {total} items, {part} of them {colour}. How many items are not {colour}?"
    return Task("count-given", "CLEVR_v1.0", grid, question, False, partial(_tell_rest, total, part, colour))


# Angles


def angle_sentences(angles: Sequence[int]) -> list[str]:
    return [f"Angle {name} is {size}°." for name, size in zip(("AOB", "BOC", "COD"), angles, strict=False)]


def _read_angles(angles: Angles, teller: Teller) -> tuple[list[int], list[str]]:
    told = [teller.read(angle, ANGLES) for angle in angles]
    return told, angle_sentences(told)


def _tell_supplement(angles: Angles, teller: Teller) -> Telling:
    (first,), steps = _read_angles(angles, teller)
    answer = teller.compute(STRAIGHT - first, 10)
    steps += [f"Angle AOC is {STRAIGHT}°.", f"Angle BOC is {STRAIGHT}° - {first}° = {answer}°."]
    return Telling(tuple(steps), f"{answer}°")


def _tell_sum(angles: Angles, teller: Teller) -> Telling:
    (first, second), steps = _read_angles(angles, teller)
    answer = teller.compute(first + second, 10)
    steps += ["Angle AOC is their sum.", f"Angle AOC is {first}° + {second}° = {answer}°."]
    return Telling(tuple(steps), f"{answer}°")


def _tell_remainder(angles: Angles, teller: Teller) -> Telling:
    (first, second), steps = _read_angles(angles, teller)
    both = teller.compute(first + second, 10)
    answer = teller.compute(STRAIGHT - both, 10)
    steps += [f"Angle AOC is {first}° + {second}° = {both}°.", f"Angle COD is {STRAIGHT}° - {both}° = {answer}°."]
    return Telling(tuple(steps), f"{answer}°")


def _tell_three(angles: Angles, teller: Teller) -> Telling:
    (first, second, third), steps = _read_angles(angles, teller)
    both = teller.compute(first + second, 10)
    answer = teller.compute(both + third, 10)
    steps += [f"Angle AOC is {first}° + {second}° = {both}°.", f"Angle AOD is {both}° + {third}° = {answer}°."]
    return Telling(tuple(steps), f"{answer}°")


def supplement(angles: Angles) -> Task:
    question = "As shown in the figure, AOC is a straight line, then the degree of angle BOC is ()"
    return Task("supplement", "geoqa+", Fan(angles, True), question, True, partial(_tell_supplement, angles))


def angle_sum(angles: Angles) -> Task:
    question = "As shown in the figure, OB lies inside angle AOC, then the degree of angle AOC is ()"
    return Task("sum", "geoqa+", Fan(angles), question, True, partial(_tell_sum, angles))


def remainder(angles: Angles, num_given: int) -> Task:
    """Angle COD of a straight line AOD; `num_given` of the two other angles stand in the question."""
    sizes = list(zip(("AOB", "BOC"), angles, strict=True))[:num_given]
    known = "".join(f", angle {name} = {size:.1f}" for name, size in sizes)
    question = f"As shown in the figure, AOD is a straight line{known}, then the degree of angle COD is ()"
    kind = ("remainder", "remainder-half-given", "remainder-given")[num_given]
    return Task(kind, "geoqa+", Fan(angles, True), question, num_given < 2, partial(_tell_remainder, angles))


def three_angles(angles: Angles) -> Task:
    question = "As shown in the figure, OB and OC lie inside angle AOD, then the degree of angle AOD is ()"
    return Task("three", "geoqa+", Fan(angles), question, True, partial(_tell_three, angles))


# Drawing lots


def random_grid(rng: random.Random) -> Grid:
    return Grid(
        tuple(
            Item(rng.choice(COLOURS), rng.choice(SHAPES)) if rng.random() < SHARE_FILLED else None
            for _ in range(GRID_SIDE**2)
        )
    )


def random_angles(rng: random.Random, count: int) -> Angles:
    """`count` angles in tens of degrees whose sum fits the fan."""
    while True:
        angles = tuple(rng.choice(ANGLES) for _ in range(count))
        if sum(angles) <= LARGEST_FAN:
            return angles


MAKERS: tuple[Callable[[random.Random], Task], ...] = (
    lambda rng: count_rows(random_grid(rng), rng.choice(COLOURS)),
    lambda rng: count_rows(random_grid(rng), rng.choice(COLOURS)),  # twice: it is a third of the picture questions
    lambda rng: count_rest(random_grid(rng), rng.choice(COLOURS)),
    lambda rng: supplement(random_angles(rng, 1)),
    lambda rng: angle_sum(random_angles(rng, 2)),
    lambda rng: remainder(random_angles(rng, 2), num_given=0),
    lambda rng: remainder(random_angles(rng, 2), num_given=1),
    lambda rng: remainder(random_angles(rng, 2), num_given=2),
    lambda rng: three_angles(random_angles(rng, 3)),
)


def make_tasks(stream: str, count: int) -> list[Task]:
    """`count` tasks of a stream. Every task has its own generator: a larger count keeps the first ones."""
    generators = (random.Random(f"{stream}/{index}") for index in range(count))
    return [rng.choice(MAKERS)(rng) for rng in generators]


# ----------------------------------------------------------------------------------------------------
# Draws a task's picture. Four times too large, then scaled down: the edges come out smooth.
#
# A grid is 84 x 84 pixels (nine image tokens, one per place), a fan 112 x 84 (twelve).

SCALE = 4
PLACE = 28  # pixels per place: two patches of 14, that is one image token
PAINT = {"red": (214, 50, 40), "blue": (45, 85, 205), "green": (40, 155, 75)}
SECTORS = ((245, 170, 150), (150, 185, 245), (160, 225, 170), (240, 220, 140))  # fills of angle AOB, BOC, COD, ..
BANDS = ((255, 246, 214), (255, 255, 255), (226, 238, 248))  # backgrounds of the three rows
INK = (20, 20, 20)
RADIUS = 50.0


def draw(picture: Grid | Fan, rng: random.Random) -> Image.Image:
    """`rng` moves things by a pixel or two, so that no two drawings of one task are the same."""
    return _draw_grid(picture, rng) if isinstance(picture, Grid) else _draw_fan(picture, rng)


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    return image, ImageDraw.Draw(image)


def _shrink(image: Image.Image) -> Image.Image:
    return image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)


def _draw_grid(grid: Grid, rng: random.Random) -> Image.Image:
    side = GRID_SIDE * PLACE
    image, pen = _canvas(side, side)
    for row, band in enumerate(BANDS):
        pen.rectangle([0, row * PLACE * SCALE, image.width, (row + 1) * PLACE * SCALE], fill=band)
    for index, item in enumerate(grid.places):
        if item is None:
            continue
        row, column = divmod(index, GRID_SIDE)
        radius = rng.uniform(8, 11)
        x, y = ((place + 0.5) * PLACE + rng.uniform(-2, 2) for place in (column, row))
        box = [value * SCALE for value in (x - radius, y - radius, x + radius, y + radius)]
        (pen.ellipse if item.shape == "disc" else pen.rectangle)(box, fill=PAINT[item.colour])
    return _shrink(image)


def _draw_fan(fan: Fan, rng: random.Random) -> Image.Image:
    image, pen = _canvas(4 * PLACE, 3 * PLACE)
    x, y = (56 + rng.uniform(-1, 1)) * SCALE, (72 + rng.uniform(-1, 1)) * SCALE
    radius = RADIUS * SCALE
    edges = [0]
    for size in fan.angles:
        edges.append(edges[-1] + size)
    if fan.straight_end:
        edges.append(180)
    arc = [x - 0.8 * radius, y - 0.8 * radius, x + 0.8 * radius, y + 0.8 * radius]
    for fill, start, end in zip(SECTORS, edges, edges[1:], strict=False):  # as many fills as there are sectors
        pen.pieslice(arc, -end, -start, fill=fill)  # Pillow counts clockwise, mathematics the other way
    font = ImageFont.load_default(size=9 * SCALE)
    for letter, degrees in zip("ABCDE", edges, strict=False):
        dx, dy = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
        pen.line([x, y, x + radius * dx, y + radius * dy], fill=INK, width=SCALE + SCALE // 2)
        below = 6 * SCALE if dy > -0.1 else 0  # the letters of the flat rays stand under them
        pen.text((x + (0.97 if below else 1.13) * radius * dx, y + below + 1.13 * radius * dy), letter, INK, font, "mm")
    return _shrink(image)
