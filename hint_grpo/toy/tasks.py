"""The toy world's tasks: a picture to draw, a question, a correct reasoning in 3 to 5 steps, and the answer.

First module of the data flow: `records` turns tasks into records, `world` writes them, `warmup` trains on others of them.

There are two kinds of picture. A *grid* has 3 x 3 places, some of which hold a coloured disc or square: things to count.
A *fan* has rays from one point O: angles to read, in tens of degrees. If `needs_picture` is False, the question states all
numbers, so that text alone answers it (and the picture agrees); otherwise at least one number must be read from the picture.

A `Solver` fills in the numbers of a reasoning. The correct one, which gives a task's `steps` and `solution`, never errs;
`warmup` has a careless one.
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

# Drawing. A grid is 84 x 84 pixels (nine image tokens, one per place), a fan 112 x 84 (twelve).
SCALE = 4  # pictures are drawn four times too large, then scaled down, for smooth edges
PLACE = 28  # pixels per place: two patches of 14, that is one image token
PAINT = {"red": (214, 50, 40), "blue": (45, 85, 205), "green": (40, 155, 75)}
SECTORS = ((245, 170, 150), (150, 185, 245), (160, 225, 170), (240, 220, 140))  # fills of angle AOB, BOC, COD, ..
BANDS = ((255, 246, 214), (255, 255, 255), (226, 238, 248))  # backgrounds of the three rows
INK = (20, 20, 20)
RADIUS = 50.0  # length of a fan's rays, pixels

Angles = tuple[int, ...]

# ----------------------------------------------------------------------------------------------------
# Pictures, reasonings, tasks


@dataclass(frozen=True, slots=True)
class Item:
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Grid:
    """Nine places, row by row; None is an empty place."""

    places: tuple[Item | None, ...]

    def row_counts(self, colour: str) -> tuple[int, ...]:
        """Number of items of `colour` in each of the three rows."""
        rows = (self.places[i : i + GRID_SIDE] for i in range(0, len(self.places), GRID_SIDE))
        return tuple(sum(item is not None and item.colour == colour for item in row) for row in rows)

    @property
    def num_items(self) -> int:
        return sum(item is not None for item in self.places)


@dataclass(frozen=True, slots=True)
class Fan:
    """Rays OA, OB, ... counted from the right: `angles[0]` is angle AOB, `angles[1]` angle BOC, and so on."""

    angles: Angles
    straight_end: bool = False  # whether there is one more ray, opposite to OA


class Solver(Protocol):
    """Decides which numbers a reasoning states."""

    def read(self, true: int, options: Sequence[int]) -> int:
        """The number stated for one that is read from the picture or the question; `options` are the plausible ones."""
        ...

    def compute(self, true: int, unit: int) -> int:
        """The number stated for a result; `unit` is the step between neighbouring results (1 for counts, 10 for degrees)."""
        ...


class CorrectSolver:
    """States the true numbers."""

    def read(self, true: int, options: Sequence[int]) -> int:
        return true

    def compute(self, true: int, unit: int) -> int:
        return true


@dataclass(frozen=True, slots=True)
class Reasoning:
    """One solver's steps and the answer that they lead to."""

    steps: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Task:
    """A picture with a question about it; `solve` writes the reasoning with a given solver."""

    kind: str
    source: Literal["CLEVR_v1.0", "geoqa+"]  # the folder of LLaVA-CoT-100k that such a picture would be in
    picture: Grid | Fan
    question: str
    needs_picture: bool
    solve: Callable[[Solver], Reasoning] = field(compare=False, repr=False)

    @property
    def steps(self) -> tuple[str, ...]:
        """The correct reasoning: 3 to 5 sentences."""
        return self.solve(CorrectSolver()).steps

    @property
    def solution(self) -> str:
        """The correct answer: a count, or degrees with their sign."""
        return self.solve(CorrectSolver()).answer


# ----------------------------------------------------------------------------------------------------
# Counting tasks. The functions _solve_* write a reasoning; those without underscore make a task.


def _solve_rows(counts: Sequence[int], solver: Solver) -> Reasoning:
    stated = [solver.read(count, range(GRID_SIDE + 1)) for count in counts]
    total = solver.compute(sum(stated), 1)
    rows = [f"Row {number} has {count}." for number, count in enumerate(stated, 1)]
    return Reasoning((*rows, f"The total is {' + '.join(map(str, stated))} = {total}."), str(total))


def count_rows(grid: Grid, colour: str) -> Task:
    """How many items have one colour: counted in the picture, row by row."""
    question = f"How many {colour} items are in the picture?"
    return Task("count", "CLEVR_v1.0", grid, question, True, partial(_solve_rows, grid.row_counts(colour)))


def _solve_rest(total: int, part: int, colour: str, solver: Solver) -> Reasoning:
    total, part = solver.read(total, range(10)), solver.read(part, range(GRID_SIDE + 1))
    rest = solver.compute(total - part, 1)
    steps = (
        f"The number of items is {total}.",
        f"The number of {colour} items is {part}.",
        f"The rest is {total} - {part} = {rest}.",
    )
    return Reasoning(steps, str(rest))


def count_rest(grid: Grid, colour: str) -> Task:
    """How many items do not have one colour: the question states both numbers."""
    total, part = grid.num_items, sum(grid.row_counts(colour))
    question = f"The picture holds {total} items, {part} of them {colour}. How many items are not {colour}?"
    return Task("count-given", "CLEVR_v1.0", grid, question, False, partial(_solve_rest, total, part, colour))


# ----------------------------------------------------------------------------------------------------
# Angle tasks


def angle_sentences(angles: Sequence[int]) -> list[str]:
    """ "Angle AOB is 40°.", "Angle BOC is 30°.", ... for up to three angles in degrees."""
    return [f"Angle {name} is {size}°." for name, size in zip(("AOB", "BOC", "COD"), angles, strict=False)]


def _read_angles(angles: Angles, solver: Solver) -> tuple[list[int], list[str]]:
    stated = [solver.read(angle, ANGLES) for angle in angles]
    return stated, angle_sentences(stated)


def _solve_supplement(angles: Angles, solver: Solver) -> Reasoning:
    (first,), steps = _read_angles(angles, solver)
    answer = solver.compute(STRAIGHT - first, 10)
    steps += [f"Angle AOC is {STRAIGHT}°.", f"Angle BOC is {STRAIGHT}° - {first}° = {answer}°."]
    return Reasoning(tuple(steps), f"{answer}°")


def _solve_sum(angles: Angles, solver: Solver) -> Reasoning:
    (first, second), steps = _read_angles(angles, solver)
    answer = solver.compute(first + second, 10)
    steps += ["Angle AOC is their sum.", f"Angle AOC is {first}° + {second}° = {answer}°."]
    return Reasoning(tuple(steps), f"{answer}°")


def _solve_remainder(angles: Angles, solver: Solver) -> Reasoning:
    (first, second), steps = _read_angles(angles, solver)
    both = solver.compute(first + second, 10)
    answer = solver.compute(STRAIGHT - both, 10)
    steps += [f"Angle AOC is {first}° + {second}° = {both}°.", f"Angle COD is {STRAIGHT}° - {both}° = {answer}°."]
    return Reasoning(tuple(steps), f"{answer}°")


def _solve_three(angles: Angles, solver: Solver) -> Reasoning:
    (first, second, third), steps = _read_angles(angles, solver)
    both = solver.compute(first + second, 10)
    answer = solver.compute(both + third, 10)
    steps += [f"Angle AOC is {first}° + {second}° = {both}°.", f"Angle AOD is {both}° + {third}° = {answer}°."]
    return Reasoning(tuple(steps), f"{answer}°")


def supplement(angles: Angles) -> Task:
    """Angle BOC on a straight line AOC, from one angle."""
    question = "As shown in the figure, AOC is a straight line, then the degree of angle BOC is ()"
    return Task("supplement", "geoqa+", Fan(angles, True), question, True, partial(_solve_supplement, angles))


def angle_sum(angles: Angles) -> Task:
    """Angle AOC, the sum of two angles."""
    question = "As shown in the figure, OB lies inside angle AOC, then the degree of angle AOC is ()"
    return Task("sum", "geoqa+", Fan(angles), question, True, partial(_solve_sum, angles))


def remainder(angles: Angles, num_given: int) -> Task:
    """Angle COD on a straight line AOD; the question states `num_given` (0 to 2) of the two other angles."""
    sizes = list(zip(("AOB", "BOC"), angles, strict=True))[:num_given]
    known = "".join(f", angle {name} = {size:.1f}" for name, size in sizes)
    question = f"As shown in the figure, AOD is a straight line{known}, then the degree of angle COD is ()"
    kind = ("remainder", "remainder-half-given", "remainder-given")[num_given]
    return Task(kind, "geoqa+", Fan(angles, True), question, num_given < 2, partial(_solve_remainder, angles))


def three_angles(angles: Angles) -> Task:
    """Angle AOD, the sum of three angles."""
    question = "As shown in the figure, OB and OC lie inside angle AOD, then the degree of angle AOD is ()"
    return Task("three", "geoqa+", Fan(angles), question, True, partial(_solve_three, angles))


# ----------------------------------------------------------------------------------------------------
# Random tasks


def random_grid(rng: random.Random) -> Grid:
    """Each place holds an item with probability SHARE_FILLED."""
    return Grid(
        tuple(
            Item(rng.choice(COLOURS), rng.choice(SHAPES)) if rng.random() < SHARE_FILLED else None
            for _ in range(GRID_SIDE**2)
        )
    )


def random_angles(rng: random.Random, count: int) -> Angles:
    """`count` angles in tens of degrees whose sum is at most LARGEST_FAN."""
    while True:  # draw again until they fit
        angles = tuple(rng.choice(ANGLES) for _ in range(count))
        if sum(angles) <= LARGEST_FAN:
            return angles


# `make_tasks` chooses one of these at random for every task.
TASK_MAKERS: tuple[Callable[[random.Random], Task], ...] = (
    lambda rng: count_rows(random_grid(rng), rng.choice(COLOURS)),
    lambda rng: count_rows(random_grid(rng), rng.choice(COLOURS)),  # listed twice: a third of the picture questions
    lambda rng: count_rest(random_grid(rng), rng.choice(COLOURS)),
    lambda rng: supplement(random_angles(rng, 1)),
    lambda rng: angle_sum(random_angles(rng, 2)),
    lambda rng: remainder(random_angles(rng, 2), num_given=0),
    lambda rng: remainder(random_angles(rng, 2), num_given=1),
    lambda rng: remainder(random_angles(rng, 2), num_given=2),
    lambda rng: three_angles(random_angles(rng, 3)),
)


def make_tasks(stream: str, count: int) -> list[Task]:
    """The first `count` tasks of the stream named `stream`; a larger count only appends to them.

    Each task has its own random generator, so a task depends on the stream's name and its index alone.
    """
    generators = (random.Random(f"{stream}/{index}") for index in range(count))
    return [rng.choice(TASK_MAKERS)(rng) for rng in generators]


# ----------------------------------------------------------------------------------------------------
# Drawing a picture


def draw(picture: Grid | Fan, rng: random.Random) -> Image.Image:
    """An RGB image of 84 x 84 pixels (grid) or 112 x 84 (fan).

    `rng` shifts things by a pixel or two, so that no two drawings of one picture are the same.
    """
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
        # The item's centre: the middle of its place, shifted by up to two pixels.
        x, y = ((place + 0.5) * PLACE + rng.uniform(-2, 2) for place in (column, row))
        box = [value * SCALE for value in (x - radius, y - radius, x + radius, y + radius)]
        (pen.ellipse if item.shape == "disc" else pen.rectangle)(box, fill=PAINT[item.colour])
    return _shrink(image)


def _draw_fan(fan: Fan, rng: random.Random) -> Image.Image:
    image, pen = _canvas(4 * PLACE, 3 * PLACE)
    # Point O, near the middle of the lower edge.
    x, y = (56 + rng.uniform(-1, 1)) * SCALE, (72 + rng.uniform(-1, 1)) * SCALE
    radius = RADIUS * SCALE
    edges = [0]  # direction of every ray in degrees, counted from OA
    for size in fan.angles:
        edges.append(edges[-1] + size)
    if fan.straight_end:
        edges.append(STRAIGHT)
    # Coloured sectors, one per angle.
    arc = [x - 0.8 * radius, y - 0.8 * radius, x + 0.8 * radius, y + 0.8 * radius]
    for fill, start, end in zip(SECTORS, edges, edges[1:], strict=False):  # as many fills as there are sectors
        pen.pieslice(arc, -end, -start, fill=fill)  # Pillow counts clockwise, mathematics the other way
    # Rays and their letters.
    font = ImageFont.load_default(size=9 * SCALE)
    for letter, degrees in zip("ABCDE", edges, strict=False):
        dx, dy = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
        pen.line([x, y, x + radius * dx, y + radius * dy], fill=INK, width=SCALE + SCALE // 2)
        below = 6 * SCALE if dy > -0.1 else 0  # letters of horizontal rays go below the ray
        pen.text((x + (0.97 if below else 1.13) * radius * dx, y + below + 1.13 * radius * dy), letter, INK, font, "mm")
    return _shrink(image)
