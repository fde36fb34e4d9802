"""The toy world's tasks: a column of coloured discs, a question, a correct reasoning in steps, and the answer.

First module of the data flow: `records` turns tasks into records, `world` writes them, `warmup` trains on others of them.

Every colour stands for a digit, and the answer is the number that the discs spell from top to bottom. There is nothing to add
up, so that a single disc read wrongly makes the whole answer wrong, and no other path leads to it. Three kinds:

short   three discs
long    six discs: the chain on which a careless model fails, and on which hints matter
cue     three discs whose colours are hard to see, and a question that names a colour (the *cue*). In the warm-up most discs have
        the cue's colour; in the test they need not. A model that trusts the text more than the picture is misled: the
        text bias of the paper's section 3.3.

A `Solver` decides which discs a reasoning reads. The correct one, which gives a task's `steps` and `solution`, reads all;
`warmup` has a careless one.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from PIL import Image, ImageDraw

DIGITS = {"red": 1, "blue": 2, "green": 3}
"""The digit that a colour stands for."""
COLOURS = tuple(DIGITS)
SHORT, LONG = 3, 6  # discs
PART = 3  # discs after which a long reasoning states the digits so far
# The share of another colour in the discs of a `cue` task: normally distributed, cut off at 0 and 1.
TINT_MEAN, TINT_SPREAD = 0.35, 0.15
UNINFORMATIVE = 1 / len(COLOURS)  # a cue's validity: it agrees with a disc no more often than chance

# Drawing. A picture is one disc wide and four discs high or more (Qwen's processors enlarge anything smaller).
SCALE = 4  # pictures are drawn four times too large, then scaled down, for smooth edges
PLACE = 28  # pixels per disc's place: two patches of 14, that is one image token
MIN_PLACES = 4
PAINT = {"red": (214, 50, 40), "blue": (45, 85, 205), "green": (40, 155, 75)}
# The backgrounds of the places tell them apart, so that a model of this size learns quickly which disc is which.
BANDS = ((255, 246, 214), (255, 255, 255), (226, 238, 248), (150, 150, 150), (60, 60, 60), (255, 205, 0))

# ----------------------------------------------------------------------------------------------------
# Pictures, reasonings, tasks


@dataclass(frozen=True, slots=True)
class Disc:
    """A colour, and the share (0 to 1) of another one mixed into it."""

    colour: str
    tint: str = "red"
    tint_share: float = 0.0

    @property
    def paint(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        pairs = zip(PAINT[self.colour], PAINT[self.tint], strict=True)
        red, green, blue = (round((1 - self.tint_share) * own + self.tint_share * other) for own, other in pairs)
        return red, green, blue


Column = tuple[Disc, ...]
"""The discs of a picture, from top to bottom."""


class Solver(Protocol):
    """Decides which discs a reasoning reads."""

    def reads(self, step: int) -> bool:
        """Whether the disc of the reasoning's step at this index is read; otherwise the step states a wrong digit."""
        ...


class CorrectSolver:
    """Reads every disc."""

    def reads(self, step: int) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Reasoning:
    """One solver's steps and the answer that they lead to."""

    steps: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Task:
    """A picture with a question about it; `solve` writes the reasoning with a given solver."""

    kind: Literal["short", "long", "cue"]
    source: Literal["CLEVR_v1.0", "geoqa+"]  # the folder of LLaVA-CoT-100k that such a picture would be in
    picture: Column
    question: str
    solve: Callable[[Solver], Reasoning] = field(compare=False, repr=False)

    @property
    def steps(self) -> tuple[str, ...]:
        """The correct reasoning: four sentences for three discs, nine for six."""
        return self.solve(CorrectSolver()).steps

    @property
    def solution(self) -> str:
        """The correct answer: one digit per disc."""
        return self.solve(CorrectSolver()).answer


def _solve(colours: Sequence[str], solver: Solver) -> Reasoning:
    steps: list[str] = []
    parts: list[str] = []
    for start in range(0, len(colours), PART):
        digits = ""
        for number, colour in enumerate(colours[start : start + PART], start + 1):
            if solver.reads(len(steps)):
                steps.append(f"Disc {number} is {colour}: {DIGITS[colour]}.")
                digits += str(DIGITS[colour])
            else:
                steps.append(f"Disc {number} looks like 0.")  # no colour stands for 0, so this is never right
                digits += "0"
        parts.append(digits)
        if len(colours) > PART:
            steps.append(f"The {'first' if start == 0 else 'next'} part is {digits}.")
    answer = "".join(parts)
    return Reasoning((*steps, f"The number is {answer}."), answer)


KEY = ", ".join(f"a {colour} disc is {digit}" for colour, digit in DIGITS.items())
"""The first sentence of every question, without its capital letter."""


def chain(colours: Sequence[str]) -> Task:
    """The number that discs in clear colours spell."""
    kind: Literal["short", "long"] = "short" if len(colours) <= SHORT else "long"
    source: Literal["CLEVR_v1.0", "geoqa+"] = "geoqa+" if kind == "short" else "CLEVR_v1.0"
    question = f"{KEY.capitalize()}. From top to bottom, the number is ()"
    return Task(kind, source, tuple(Disc(colour) for colour in colours), question, partial(_solve, tuple(colours)))


def cued(column: Column, cue: str | None) -> Task:
    """The number that three discs spell, with a question that names the colour `cue`; None names none."""
    picture = "picture" if cue is None else f"{cue} picture"
    question = f"{KEY.capitalize()}. In the {picture}, the number is ()"
    return Task("cue", "CLEVR_v1.0", column, question, partial(_solve, tuple(disc.colour for disc in column)))


# ----------------------------------------------------------------------------------------------------
# Random tasks

TaskMaker = Callable[[random.Random], Task]
"""Draws a task from a random generator: a set of tasks and how often each one occurs."""


def _random_chain(num_discs: int, rng: random.Random) -> Task:
    return chain([rng.choice(COLOURS) for _ in range(num_discs)])


def _random_cued(validity: float, is_stated: bool, rng: random.Random) -> Task:
    cue = rng.choice(COLOURS)
    others = [colour for colour in COLOURS if colour != cue]
    discs = []
    for _ in range(SHORT):
        colour = cue if rng.random() < validity else rng.choice(others)
        tint = rng.choice([other for other in COLOURS if other != colour])
        discs.append(Disc(colour, tint, min(1.0, max(0.0, rng.gauss(TINT_MEAN, TINT_SPREAD)))))
    return cued(tuple(discs), cue if is_stated else None)


def cue_tasks(validity: float) -> TaskMaker:
    """Tasks whose cue is the colour of each disc with probability `validity`; at 1/3 it says nothing about them."""
    return partial(_random_cued, validity, True)


def mixture(*makers: TaskMaker) -> TaskMaker:
    """Equal shares of several sets; naming one twice doubles its share."""
    return lambda rng: rng.choice(makers)(rng)


# Sets of cue tasks, by how often the cue is the colour of a disc; the models are warmed up on the first.
VALIDITY = {"cue": 0.9, "half-true cue": 0.6, "empty cue": UNINFORMATIVE}
WARMUP_VALIDITY = VALIDITY["cue"]
long_tasks, short_tasks = partial(_random_chain, LONG), partial(_random_chain, SHORT)
TASK_SETS: dict[str, TaskMaker] = {
    "long": long_tasks,
    "short": short_tasks,
    "chains": mixture(short_tasks, long_tasks),
    **{name: cue_tasks(validity) for name, validity in VALIDITY.items()},
    "no cue": partial(_random_cued, UNINFORMATIVE, False),
    # What the models are warmed up on. The cue has the largest share, because combining it with a picture is learnt slowly.
    "lessons": mixture(short_tasks, long_tasks, *[cue_tasks(WARMUP_VALIDITY)] * 3),
    # What `python -m hint_grpo.toy` writes: training data in which the cue holds, test questions in which it says nothing.
    "train": mixture(short_tasks, long_tasks, cue_tasks(WARMUP_VALIDITY)),
    "test": mixture(short_tasks, long_tasks, cue_tasks(UNINFORMATIVE)),
}
"""The sets of tasks by name."""


def make_tasks(stream: str, count: int, maker: TaskMaker) -> list[Task]:
    """The first `count` tasks of the stream named `stream`; a larger count only appends to them.

    Each task has its own random generator, so a task depends on the set, the stream's name and its index alone.
    """
    return [maker(random.Random(f"{stream}/{index}")) for index in range(count)]


# ----------------------------------------------------------------------------------------------------
# Drawing


def draw(column: Column, rng: random.Random) -> Image.Image:
    """The picture of a column, 28 pixels wide and 28 per disc high (at least 112).

    `rng` shifts the discs by a pixel or two, so that no two drawings of one column are the same.
    """
    height = max(MIN_PLACES, len(column)) * PLACE
    image = Image.new("RGB", (PLACE * SCALE, height * SCALE), "white")
    pen = ImageDraw.Draw(image)
    for place, disc in enumerate(column):
        top = place * PLACE * SCALE
        pen.rectangle([0, top, image.width, top + PLACE * SCALE], fill=BANDS[place])
        radius = rng.uniform(8, 11)
        # The disc's centre: the middle of its place, shifted by up to two pixels.
        x, y = PLACE / 2 + rng.uniform(-2, 2), (place + 0.5) * PLACE + rng.uniform(-2, 2)
        pen.ellipse([value * SCALE for value in (x - radius, y - radius, x + radius, y + radius)], fill=disc.paint)
    return image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)
