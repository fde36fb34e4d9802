"""The short supervised training behind the shipped weights: from random weights to a model that solves some tasks.

    python -m hint_grpo.toy.warmup                         both families, to hint_grpo/toy/weights/
    python -m hint_grpo.toy.warmup --family Qwen2-VL

Three phases: captions until pictures are read; honest lessons until most sums are right; a short one with careless
tellings mixed in, which leaves reinforcement learning something to do. `measure` measures what came out.
"""

import hint_grpo.machine.stack  # noqa: F401

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from hint_grpo import hints, prompts
from hint_grpo.machine.errors import run_main
from hint_grpo.toy import models, tasks
from hint_grpo.toy.models import SHIPPED, TURN_END, Family, learn_vocabulary
from hint_grpo.toy.tasks import GRID_SIDE, MAKERS, Fan, Grid, Task, Telling, angle_sentences, make_tasks

# ----------------------------------------------------------------------------------------------------
# What the warm-up shows a toy model: examples made on the fly, from a stream that training and test data do not share.
#
# One example is a prompt, a beginning of the assistant's turn (no loss on it) and the rest (loss). Two formats, both from
# `hint_grpo.prompts`:
#
# - the training prompt, the turn begun with `<think>` and possibly a few correct steps, as answer injection begins it;
# - the evaluation prompt, nothing begun; a part of them without the picture, so that the image-free branch of text-bias
#   calibration is a language prior and no accident.
#
# The first lessons are captions: pictures to describe. A model that has only seen honest tellings leaves reinforcement
# learning little to do. So the last lessons are also told by a careless teller, with two vices real models have: it
# writes the number it is used to instead of the one in the picture, and it answers at a glance, without reasoning.

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
    image = tasks.draw(task.picture, rng)
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


VOCABULARY_SIZE = 560
REPORT_EVERY = 50
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    num_steps: int
    learning_rate: float
    mix: Mix = HONEST
    batch_size: int = 32
    num_warmup_steps: int = 50

    def learning_rate_at(self, step: int) -> float:
        """Linear up, then a cosine down to a tenth."""
        if step < self.num_warmup_steps:
            return self.learning_rate * (step + 1) / self.num_warmup_steps
        done = (step - self.num_warmup_steps) / max(1, self.num_steps - self.num_warmup_steps)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


PHASES = (
    Phase("captions", 200, 2e-3, Mix(captions=1.0), batch_size=64),
    Phase("honest", 400, 2e-3, HONEST),
    Phase("careless", 150, 1e-3, Mix(glance=0.3, misread=0.4, miscomputed=0.3)),
)
Report = Callable[[Phase, int, float, PreTrainedModel], None]


def collate(processor: Any, examples: list[Example]) -> dict[str, torch.Tensor]:
    """Right-padded tensors, labels on `rest` alone. The parts are tokenised apart, as in a turn that is generated."""
    tokenizer = processor.tokenizer
    texts = [processor.apply_chat_template(e.messages, add_generation_prompt=True, tokenize=False) for e in examples]
    images = [example.image for example in examples if example.image is not None]
    encoded = processor(text=texts, images=images or None, padding=False)
    rows, labels = [], []
    for prompt, example in zip(encoded["input_ids"], examples, strict=True):
        begun = tokenizer(example.begun)["input_ids"] if example.begun else []
        rest = tokenizer(example.rest + TURN_END)["input_ids"]
        rows.append(torch.tensor([*prompt, *begun, *rest]))
        labels.append(torch.tensor([IGNORED] * (len(prompt) + len(begun)) + rest))
    input_ids = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    batch = {
        "input_ids": input_ids,
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        "mm_token_type_ids": (input_ids == processor.image_token_id).int(),
    }
    if images:
        batch |= {name: torch.as_tensor(encoded[name]) for name in ("pixel_values", "image_grid_thw")}
    return batch


def train_phase(model: PreTrainedModel, processor: Any, phase: Phase, seed: int) -> Iterator[float]:
    """Yields the loss of every step; the same model, phase and seed give the same weights on one machine."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    stream = f"warmup-{phase.name}-{seed}"
    for step in range(phase.num_steps):
        indices = range(step * phase.batch_size, (step + 1) * phase.batch_size)
        batch = collate(processor, [make_example(stream, index, phase.mix) for index in indices])
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate_at(step)
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def warm_up(family: Family, phases: tuple[Phase, ...], seed: int, report: Report) -> PreTrainedModel:
    """Trains a new model; `report` gets phase, step, mean loss and the model now and then."""
    model, processor = models.new_model(family, seed), models.toy_processor(family)
    model.train()
    for phase in phases:
        losses: list[float] = []
        for step, loss in enumerate(train_phase(model, processor, phase, seed), 1):
            losses.append(loss)
            if step % REPORT_EVERY == 0 or step == phase.num_steps:
                report(phase, step, sum(losses) / len(losses), model)
                losses.clear()
    return model.eval()


def write_vocabulary() -> None:
    """Learns the shipped vocabulary from the text of 4,000 tasks; weights of another vocabulary are worthless then."""
    texts = []
    for task in make_tasks("vocabulary", 4000):
        texts += [task.question, *task.steps, *(f" {step}" for step in task.steps)]
        texts += ["Step 1: ", " Step 2: ", "It looks like", prompts.THINK_OPEN, "</think><answer> 1 </answer>"]
        texts += [prompts.TRAINING_SYSTEM, prompts.EVALUATION_USER.replace("{Question}", "")]
        texts += ["system\n", "user\n", "assistant\n", "You are a helpful assistant."]
    vocabulary = learn_vocabulary(texts, VOCABULARY_SIZE)
    SHIPPED.write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


def _print_progress(phase: Phase, step: int, loss: float, _model: PreTrainedModel) -> None:
    print(f"{phase.name} lessons, step {step} of {phase.num_steps}: loss {loss:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.toy.warmup", description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=models.FAMILIES, action="append", help="default: both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", action="store_true", help="learn the vocabulary anew first")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order: the same weights every time, and hardly slower at this size
    if arguments.vocabulary:
        write_vocabulary()
    for family in arguments.family or models.FAMILIES:
        model = warm_up(family, PHASES, arguments.seed, _print_progress)
        models.save_weights(model, models.weights_file(family))
        print(models.weights_file(family))


if __name__ == "__main__":
    run_main(main)
