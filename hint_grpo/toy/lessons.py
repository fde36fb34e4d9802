"""What the warm-up shows a toy model: examples made on the fly, from a stream that training and test data do not share.

One example is a prompt, a beginning of the assistant's turn (no loss on it) and the rest (loss). Two formats, both from
`hint_grpo.prompts`:

- the training prompt, the turn begun with `<think>` and possibly a few correct steps, as answer injection begins it;
- the evaluation prompt, nothing begun; a part of them without the picture, so that the image-free branch of text-bias
  calibration is a language prior and no accident.

The first lessons are captions: pictures to describe. A model that has only seen honest tellings leaves reinforcement
learning little to do. So the last lessons are also told by a careless teller, with two vices real models have: it
writes the number it is used to instead of the one in the picture, and it answers at a glance, without reasoning.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from hint_grpo import hints, prompts
from hint_grpo.toy import pictures
from hint_grpo.toy.tasks import GRID_SIDE, MAKERS, Fan, Grid, Task, Telling, angle_sentences

GLANCE_ANGLES, GLANCE_COUNTS = range(20, 170, 10), range(6)


@dataclass(frozen=True)
class Mix:
    """Shares of what is shown."""

    captions: float = 0.0  # of the examples: pictures to describe, without a question
    evaluation: float = 0.5  # of the others, in the evaluation format
    image_free: float = 0.3  # of those, without the picture
    hinted: float = 0.5  # of the training format, begun with one step or more
    numbered: float = 0.15  # of the reasonings, with "Step k:" before every step
    glance: float = 0.0  # of the turns begun from nothing
    misread: float = 0.0  # of the numbers read, off the picture or the question
    miscomputed: float = 0.0  # of the results


HONEST = Mix()


@dataclass(frozen=True, slots=True)
class Example:
    messages: list[prompts.Message]
    image: Image.Image | None
    begun: str
    rest: str


def lopsided(rng: random.Random, options: Sequence[int]) -> int:
    """The middle option most often, the others less the farther they lie: what one would say without looking."""
    middle = len(options) // 2
    return rng.choices(options, [0.5 ** abs(place - middle) for place in range(len(options))])[0]


@dataclass(frozen=True, slots=True)
class Careless:
    """Now and then writes the number it is used to instead of the one it sees, or is off by one unit in a result."""

    rng: random.Random
    mix: Mix

    def read(self, true: int, options: Sequence[int]) -> int:
        return lopsided(self.rng, options) if self.rng.random() < self.mix.misread else true

    def compute(self, true: int, unit: int) -> int:
        off = self.rng.random() < self.mix.miscomputed
        return max(0, true + self.rng.choice((-unit, unit))) if off else true


def caption(picture: Grid | Fan) -> str:
    """Everything that can be read off a picture."""
    if isinstance(picture, Fan):
        return " ".join(angle_sentences(picture.angles))
    colours = [item.colour if item else "not" for item in picture.places]
    rows = (colours[i : i + GRID_SIDE] for i in range(0, len(colours), GRID_SIDE))
    return " ".join(f"Row {number} {' '.join(row)}." for number, row in enumerate(rows, 1))


def glance(task: Task, rng: random.Random) -> Telling:
    """An answer without a look at the picture."""
    is_angle = task.solution.endswith("°")
    answer = f"{lopsided(rng, GLANCE_ANGLES)}°" if is_angle else str(lopsided(rng, GLANCE_COUNTS))
    return Telling((f"It looks like {answer}.",), answer)


def numbered(telling: Telling) -> Telling:
    """ "Step 1: ..", "Step 2: ..": how a part of LLaVA-CoT's reasonings, and so of the hints, is written."""
    return replace(telling, steps=tuple(f"Step {number}: {step}" for number, step in enumerate(telling.steps, 1)))


def turn_of(telling: Telling) -> str:
    """The whole turn: `<think>` reasoning `</think><answer> value </answer>`."""
    return f"{prompts.THINK_OPEN}{' '.join(telling.steps)}</think><answer> {telling.answer} </answer>"


def make_example(stream: str, index: int, mix: Mix) -> Example:
    rng = random.Random(f"{stream}/{index}")
    task = rng.choice(MAKERS)(rng)
    image = pictures.draw(task.picture, rng)
    if rng.random() < mix.captions:
        return Example([{"role": "user", "content": [{"type": "image"}]}], image, "", caption(task.picture))
    if rng.random() < mix.evaluation:
        with_image = rng.random() >= mix.image_free
        messages = prompts.evaluation_messages(task.question, with_image=with_image)
        return Example(messages, image if with_image else None, "", turn_of(_free_telling(task, mix, rng)))
    if rng.random() < mix.hinted:
        telling, num_right = _telling_with_right_beginning(task, mix, rng)
    else:
        telling, num_right = _free_telling(task, mix, rng), 0
    begun = prompts.begun_turn(hints.hint_prefix(telling.steps, num_right))
    return Example(prompts.training_messages(task.question), image, begun, turn_of(telling).removeprefix(begun))


def _free_telling(task: Task, mix: Mix, rng: random.Random) -> Telling:
    if rng.random() < mix.glance:
        return glance(task, rng)
    telling = task.tell(Careless(rng, mix))
    return numbered(telling) if rng.random() < mix.numbered else telling


def _telling_with_right_beginning(task: Task, mix: Mix, rng: random.Random) -> tuple[Telling, int]:
    """A telling whose first steps are right, as a hint's are, and how many of them."""
    num_right = rng.randrange(1, len(task.steps))
    telling = task.tell(Careless(rng, mix))
    while telling.steps[:num_right] != task.steps[:num_right]:
        telling = task.tell(Careless(rng, mix))
    return (numbered(telling) if rng.random() < mix.numbered else telling), num_right
