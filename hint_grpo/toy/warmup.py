"""The short supervised training behind the shipped weights: from random weights to a model that solves some tasks.

    python -m hint_grpo.toy.warmup                         both families, to hint_grpo/toy/weights/
    python -m hint_grpo.toy.warmup --family Qwen2-VL

Three phases: captions, until the model reads pictures; honest lessons with correct reasoning, until most sums are right; a
short phase with careless reasoning mixed in. A model that has seen only correct reasoning leaves reinforcement learning little
to do, so the last phase teaches two faults that real models have: stating a habitual number instead of the one in the picture,
and guessing without reasoning. `measure` measures the result.

One example is a prompt, a beginning of the assistant's turn (without loss) and the rest of the turn (with loss). Examples are
made on the fly, from random streams that training and test data do not share, in the two formats of `hint_grpo.prompts`:

- the training prompt, the turn begun with `<think>` and possibly a few correct steps, as answer injection begins it;
- the evaluation prompt, nothing begun; for a share of them without the picture, so that the image-free branch of text-bias
  calibration is a learned language prior rather than an accident.
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
from hint_grpo.toy.models import TURN_END, VOCABULARY_FILE, Family, learn_vocabulary
from hint_grpo.toy.tasks import GRID_SIDE, TASK_MAKERS, Fan, Grid, Reasoning, Task, angle_sentences, make_tasks

GUESSED_ANGLES, GUESSED_COUNTS = range(20, 170, 10), range(6)  # what a guess may answer: degrees, items
VOCABULARY_SIZE = 560
REPORT_EVERY = 50  # steps
IGNORED = -100  # the label that transformers' loss ignores


@dataclass(frozen=True)
class Mix:
    """The composition of a phase's examples: shares between 0 and 1."""

    captions: float = 0.0  # of all examples: pictures to describe, without a question
    evaluation: float = 0.5  # of the other examples: in the evaluation format
    image_free: float = 0.3  # of the evaluation format: without the picture
    hinted: float = 0.5  # of the training format: begun with one step or more
    numbered: float = 0.15  # of the reasonings: with "Step k:" before every step
    guess: float = 0.0  # of the turns without hint: a guess instead of a reasoning
    misread: float = 0.0  # of the numbers read from the picture or the question: wrong
    miscomputed: float = 0.0  # of the results: wrong by one unit


HONEST = Mix()


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the warm-up with one mix of examples and one learning-rate schedule."""

    name: str  # also the name of the random stream of its examples
    num_steps: int
    learning_rate: float  # the highest
    mix: Mix = HONEST
    batch_size: int = 32
    num_warmup_steps: int = 50

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine decay to a tenth of the highest rate."""
        if step < self.num_warmup_steps:
            return self.learning_rate * (step + 1) / self.num_warmup_steps
        done = (step - self.num_warmup_steps) / max(1, self.num_steps - self.num_warmup_steps)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


PHASES = (
    Phase("captions", 200, 2e-3, Mix(captions=1.0), batch_size=64),
    Phase("honest", 400, 2e-3, HONEST),
    Phase("careless", 150, 1e-3, Mix(guess=0.3, misread=0.4, miscomputed=0.3)),
)

# ----------------------------------------------------------------------------------------------------
# Examples


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the assistant's turn: `begun` without loss, `rest` with loss."""

    messages: list[prompts.Message]
    image: Image.Image | None
    begun: str
    rest: str


def biased_choice(rng: random.Random, options: Sequence[int]) -> int:
    """Most often the middle option, half as often per place away from it: the prior of a model that does not look."""
    middle = len(options) // 2
    return rng.choices(options, [0.5 ** abs(place - middle) for place in range(len(options))])[0]


@dataclass(frozen=True, slots=True)
class CarelessSolver:
    """Sometimes states a habitual number instead of the one it reads, or a result that is off by one unit."""

    rng: random.Random
    mix: Mix

    def read(self, true: int, options: Sequence[int]) -> int:
        return biased_choice(self.rng, options) if self.rng.random() < self.mix.misread else true

    def compute(self, true: int, unit: int) -> int:
        wrong = self.rng.random() < self.mix.miscomputed
        return max(0, true + self.rng.choice((-unit, unit))) if wrong else true


def caption(picture: Grid | Fan) -> str:
    """All that a picture shows: its angles, or the colours of its places row by row."""
    if isinstance(picture, Fan):
        return " ".join(angle_sentences(picture.angles))
    colours = [item.colour if item else "not" for item in picture.places]
    rows = (colours[i : i + GRID_SIDE] for i in range(0, len(colours), GRID_SIDE))
    return " ".join(f"Row {number} {' '.join(row)}." for number, row in enumerate(rows, 1))


def guess(task: Task, rng: random.Random) -> Reasoning:
    """An answer that ignores the picture, in one step."""
    is_angle = task.solution.endswith("°")
    answer = f"{biased_choice(rng, GUESSED_ANGLES)}°" if is_angle else str(biased_choice(rng, GUESSED_COUNTS))
    return Reasoning((f"It looks like {answer}.",), answer)


def numbered(reasoning: Reasoning) -> Reasoning:
    """With "Step 1: ..", "Step 2: ..", like some of LLaVA-CoT's reasonings, and so of the hints."""
    return replace(reasoning, steps=tuple(f"Step {number}: {step}" for number, step in enumerate(reasoning.steps, 1)))


def turn_of(reasoning: Reasoning) -> str:
    """The assistant's whole turn: `<think>` reasoning `</think><answer> value </answer>`."""
    return f"{prompts.THINK_OPEN}{' '.join(reasoning.steps)}</think><answer> {reasoning.answer} </answer>"


def make_example(stream: str, index: int, mix: Mix) -> Example:
    """The example at `index` of the random stream named `stream`, in a format drawn by the shares of `mix`."""
    rng = random.Random(f"{stream}/{index}")
    task = rng.choice(TASK_MAKERS)(rng)
    image = tasks.draw(task.picture, rng)
    # A picture to describe.
    if rng.random() < mix.captions:
        return Example([{"role": "user", "content": [{"type": "image"}]}], image, "", caption(task.picture))
    # The evaluation format, nothing begun.
    if rng.random() < mix.evaluation:
        with_image = rng.random() >= mix.image_free
        messages = prompts.evaluation_messages(task.question, with_image=with_image)
        return Example(messages, image if with_image else None, "", turn_of(_reasoning(task, mix, rng)))
    # The training format, begun with `<think>` and the correct steps of a hint, if any.
    if rng.random() < mix.hinted:
        reasoning, num_correct = _reasoning_with_correct_beginning(task, mix, rng)
    else:
        reasoning, num_correct = _reasoning(task, mix, rng), 0
    begun = prompts.begun_turn(hints.hint_prefix(reasoning.steps, num_correct))
    return Example(prompts.training_messages(task.question), image, begun, turn_of(reasoning).removeprefix(begun))


def _reasoning(task: Task, mix: Mix, rng: random.Random) -> Reasoning:
    if rng.random() < mix.guess:
        return guess(task, rng)
    reasoning = task.solve(CarelessSolver(rng, mix))
    return numbered(reasoning) if rng.random() < mix.numbered else reasoning


def _reasoning_with_correct_beginning(task: Task, mix: Mix, rng: random.Random) -> tuple[Reasoning, int]:
    """A reasoning whose first steps are correct, as a hint's are, and the number of these steps."""
    num_correct = rng.randrange(1, len(task.steps))
    reasoning = task.solve(CarelessSolver(rng, mix))
    while reasoning.steps[:num_correct] != task.steps[:num_correct]:
        reasoning = task.solve(CarelessSolver(rng, mix))
    return (numbered(reasoning) if rng.random() < mix.numbered else reasoning), num_correct


# ----------------------------------------------------------------------------------------------------
# Training

# Called with phase, step, mean loss since the last report, model.
Report = Callable[[Phase, int, float, PreTrainedModel], None]


def collate(processor: Any, examples: list[Example]) -> dict[str, torch.Tensor]:
    """The model's inputs for a batch: right-padded tensors of (B, T), with labels for `rest` only.

    Prompt, `begun` and `rest` are tokenised separately, because a generated turn is tokenised that way too.
    """
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
    if images:  # the patches of all pictures, one after the other
        batch |= {name: torch.as_tensor(encoded[name]) for name in ("pixel_values", "image_grid_thw")}
    return batch


def train_phase(model: PreTrainedModel, processor: Any, phase: Phase, seed: int) -> Iterator[float]:
    """Trains `model` in place and yields the loss of every step.

    The same model, phase and seed give the same weights on one machine.
    """
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
    """Trains a new model through all phases; calls `report` every REPORT_EVERY steps and at the end of a phase."""
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


# ----------------------------------------------------------------------------------------------------
# Command line


def write_vocabulary() -> None:
    """Learns the shipped vocabulary from the text of 4,000 tasks. Weights trained with another vocabulary become useless."""
    texts = []
    for task in make_tasks("vocabulary", 4000):
        texts += [task.question, *task.steps, *(f" {step}" for step in task.steps)]
        texts += ["Step 1: ", " Step 2: ", "It looks like", prompts.THINK_OPEN, "</think><answer> 1 </answer>"]
        texts += [prompts.TRAINING_SYSTEM, prompts.EVALUATION_USER.replace("{Question}", "")]
        texts += ["system\n", "user\n", "assistant\n", "You are a helpful assistant."]
    vocabulary = learn_vocabulary(texts, VOCABULARY_SIZE)
    VOCABULARY_FILE.write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


def _print_progress(phase: Phase, step: int, loss: float, _model: PreTrainedModel) -> None:
    print(f"{phase.name} lessons, step {step} of {phase.num_steps}: loss {loss:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.toy.warmup", description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=models.FAMILIES, action="append", help="default: both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", action="store_true", help="first learn the vocabulary again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one order of sums, so the same weights every time; hardly slower at this size
    if arguments.vocabulary:
        write_vocabulary()
    for family in arguments.family or models.FAMILIES:
        model = warm_up(family, PHASES, arguments.seed, _print_progress)
        models.save_weights(model, models.weights_file(family))
        print(models.weights_file(family))


if __name__ == "__main__":
    run_main(main)
