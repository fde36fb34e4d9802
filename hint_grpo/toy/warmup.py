"""The supervised training behind the shipped weights: from random weights to a model that reads pictures, but not always.

    python -m hint_grpo.toy.warmup                         both families, to hint_grpo/toy/weights/
    python -m hint_grpo.toy.warmup --family Qwen2-VL --seed 1 --output_dir DIR
    python -m hint_grpo.toy.warmup --glances 0.6 0.8 --output_dir DIR     whole models that look less or more often

Three phases: captions, until the model reads the discs; honest lessons with correct reasoning, until nearly every answer is
right; a short careless phase. A model that has seen only correct reasoning leaves reinforcement learning nothing to do, so the
last phase teaches a fault that real models have: the longer the chain, the less they look. A disc is passed over with
probability `glance`, and what is stated instead is never right. How often the model then solves a task without a hint follows
from `glance` and from the number of discs; with a hint, it is asked to look at fewer discs. `measure` measures the result.

One example is a prompt, a beginning of the assistant's turn (without loss) and the rest of the turn (with loss). Examples are
made on the fly, from random streams that training and test data do not share, in the two formats of `hint_grpo.prompts`:

- the training prompt, the turn begun with `<think>` and possibly a few correct steps, as answer injection begins it;
- the evaluation prompt, nothing begun or a few correct steps; for a share of them without the picture, so that the image-free
  branch of text-bias calibration is a learned language prior rather than an accident.
"""

import hint_grpo.machine.stack  # noqa: F401

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText, PreTrainedModel

from hint_grpo import hints, prompts
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.toy import models, tasks
from hint_grpo.toy.models import TURN_END, VOCABULARY_FILE, Family, learn_vocabulary
from hint_grpo.toy.tasks import TASK_SETS, Column, Reasoning, Task, make_tasks

VOCABULARY_SIZE = 560
REPORT_EVERY = 50  # steps
IGNORED = -100  # the label that transformers' loss ignores


@dataclass(frozen=True)
class Mix:
    """The composition of a phase's examples: shares between 0 and 1."""

    tasks: str = "lessons"  # a name in tasks.TASK_SETS
    captions: float = 0.0  # of all examples: pictures to describe, without a question
    evaluation: float = 0.6  # of the other examples: in the evaluation format
    image_free: float = 0.3  # of the evaluation format: without the picture
    hinted: float = 0.5  # of the examples with a picture: begun with one correct step or more
    numbered: float = 0.15  # of the reasonings: with "Step k:" before every step
    glance: float = 0.0  # of the discs in long chains: passed over
    glance_short: float = 0.0  # of the discs in short chains: passed over


HONEST = Mix()
LONG_GLANCE, SHORT_GLANCE = 0.8, 0.2
"""The shipped model's habit: it solves hardly any long chain without a hint, and about half of the short ones."""


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


CAPTIONS = Phase("captions", 200, 2e-3, Mix(captions=1.0), batch_size=64)
HONEST_LESSONS = Phase("honest", 500, 2e-3, Mix(captions=0.02))


def careless_lessons(glance: float = LONG_GLANCE, glance_short: float = SHORT_GLANCE, num_steps: int = 150) -> Phase:
    """The last phase, which teaches to pass over discs."""
    mix = Mix(captions=0.02, glance=glance, glance_short=glance_short)
    return Phase("careless", num_steps, 5e-4, mix)


# ----------------------------------------------------------------------------------------------------
# Examples


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the assistant's turn: `begun` without loss, `rest` with loss."""

    messages: list[prompts.Message]
    image: Image.Image | None
    begun: str
    rest: str


@dataclass(frozen=True, slots=True)
class CarelessSolver:
    """Passes over discs with probability `glance`, but not within the first `num_correct` steps, which are a hint's."""

    rng: random.Random
    glance: float
    num_correct: int = 0

    def reads(self, step: int) -> bool:
        return step < self.num_correct or self.rng.random() >= self.glance


def caption(column: Column) -> str:
    """The colour of every disc."""
    return " ".join(f"Disc {number} is {disc.colour}." for number, disc in enumerate(column, 1))


def numbered(reasoning: Reasoning) -> Reasoning:
    """With "Step 1: ..", "Step 2: ..", like some of LLaVA-CoT's reasonings, and so of the hints."""
    return replace(reasoning, steps=tuple(f"Step {number}: {step}" for number, step in enumerate(reasoning.steps, 1)))


def turn_of(reasoning: Reasoning) -> str:
    """The assistant's whole turn: `<think>` reasoning `</think><answer> value </answer>`."""
    return f"{prompts.THINK_OPEN}{' '.join(reasoning.steps)}</think><answer> {reasoning.answer} </answer>"


def make_example(stream: str, index: int, mix: Mix) -> Example:
    """The example at `index` of the random stream named `stream`, in a format drawn by the shares of `mix`."""
    rng = random.Random(f"{stream}/{index}")
    task = TASK_SETS[mix.tasks](rng)
    image = tasks.draw(task.picture, rng)
    # A picture to describe.
    if rng.random() < mix.captions:
        return Example([{"role": "user", "content": [{"type": "image"}]}], image, "", caption(task.picture))
    # The reasoning, begun with the correct steps of a hint, if any.
    in_evaluation_format = rng.random() < mix.evaluation
    with_image = not in_evaluation_format or rng.random() >= mix.image_free
    num_correct = rng.randrange(1, len(task.steps)) if with_image and rng.random() < mix.hinted else 0
    reasoning = _reasoning(task, mix, rng, num_correct)
    # The format: only the training format begins every turn, at least with `<think>`.
    if in_evaluation_format:
        messages = prompts.evaluation_messages(task.question, with_image=with_image)
    else:
        messages = prompts.training_messages(task.question)
    is_begun = num_correct > 0 or not in_evaluation_format
    begun = prompts.begun_turn(hints.hint_prefix(reasoning.steps, num_correct)) if is_begun else ""
    return Example(messages, image if with_image else None, begun, turn_of(reasoning).removeprefix(begun))


def _reasoning(task: Task, mix: Mix, rng: random.Random, num_correct: int) -> Reasoning:
    glance = {"long": mix.glance, "short": mix.glance_short, "cue": 0.0}[task.kind]
    reasoning = task.solve(CarelessSolver(rng, glance, num_correct))
    return numbered(reasoning) if rng.random() < mix.numbered else reasoning


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


def train_phases(model: PreTrainedModel, family: Family, phases: Sequence[Phase], seed: int, report: Report) -> None:
    """Trains `model` in place; calls `report` every REPORT_EVERY steps and at the end of a phase."""
    processor = models.toy_processor(family)
    model.train()
    for phase in phases:
        losses: list[float] = []
        for step, loss in enumerate(train_phase(model, processor, phase, seed), 1):
            losses.append(loss)
            if step % REPORT_EVERY == 0 or step == phase.num_steps:
                report(phase, step, sum(losses) / len(losses), model)
                losses.clear()
    model.eval()


# ----------------------------------------------------------------------------------------------------
# Command line


def write_vocabulary() -> None:
    """Learns the shipped vocabulary from the text of tasks. Weights trained with another vocabulary become useless."""
    texts = []
    for name in TASK_SETS:
        for task in make_tasks("vocabulary", 500, TASK_SETS[name]):
            texts += [task.question, *task.steps, *(f" {step}" for step in task.steps)]
            texts += [
                "Step 1: ",
                " Step 2: ",
                " Disc 1 looks like 0.",
                prompts.THINK_OPEN,
                "</think><answer> 1 </answer>",
            ]
            texts += [prompts.TRAINING_SYSTEM, prompts.EVALUATION_USER.replace("{Question}", "")]
            texts += ["system\n", "user\n", "assistant\n", "You are a helpful assistant."]
    vocabulary = learn_vocabulary(texts, VOCABULARY_SIZE)
    VOCABULARY_FILE.write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


def print_progress(phase: Phase, step: int, loss: float, _model: PreTrainedModel) -> None:
    print(f"{phase.name} lessons, step {step} of {phase.num_steps}: loss {loss:.4f}", flush=True)


def write_weights(folder: Path, family: Family, seed: int) -> None:
    """The weights that are shipped: all three phases."""
    model = models.new_model(family, seed)
    train_phases(model, family, (CAPTIONS, HONEST_LESSONS, careless_lessons()), seed, print_progress)
    file = folder / models.weights_file(family).name
    models.save_weights(model, file)
    print(file)


def write_bases(folder: Path, family: Family, glances: Sequence[float], seed: int) -> None:
    """Whole models with different habits, all from one honest model: base models that solve more or fewer long chains."""
    honest = folder / f"{family}-honest"
    if not (honest / "config.json").is_file():
        model = models.new_model(family, seed)
        train_phases(model, family, (CAPTIONS, HONEST_LESSONS), seed, print_progress)
        models.write_folder(model, family, honest)
    for glance in glances:
        base = folder / f"{family}-{glance:g}"
        if not (base / "config.json").is_file():
            model = AutoModelForImageTextToText.from_pretrained(honest, dtype=torch.float32)
            train_phases(model, family, (careless_lessons(glance, min(glance, SHORT_GLANCE)),), seed, print_progress)
            models.write_folder(model, family, base)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.toy.warmup", description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=models.FAMILIES, action="append", help="default: both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", action="store_true", help="first learn the vocabulary again")
    parser.add_argument(
        "--output_dir", type=Path, default=models.WEIGHTS, help="default: where the shipped weights are"
    )
    parser.add_argument(
        "--glances",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="instead of the shipped weights: a whole model per share of the discs that it passes over",
    )
    arguments = parser.parse_args()
    if arguments.glances and arguments.output_dir == models.WEIGHTS:
        raise UserError("--glances writes whole models: give an --output_dir")
    if not all(0 <= glance <= 1 for glance in arguments.glances or []):
        raise UserError("--glances takes shares between 0 and 1")
    torch.set_num_threads(1)  # one order of sums, so the same weights every time; hardly slower at this size
    if arguments.vocabulary:
        write_vocabulary()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    for family in arguments.family or models.FAMILIES:
        if arguments.glances:
            write_bases(arguments.output_dir, family, arguments.glances, arguments.seed)
        else:
            write_weights(arguments.output_dir, family, arguments.seed)


if __name__ == "__main__":
    run_main(main)
