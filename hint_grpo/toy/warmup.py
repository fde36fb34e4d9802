"""The short supervised training behind the shipped weights: from random weights to a model that solves some tasks.

    python -m hint_grpo.toy.warmup                         both families, to hint_grpo/toy/weights/
    python -m hint_grpo.toy.warmup --family Qwen2-VL

Three phases: captions until pictures are read; honest lessons until most sums are right; a short one with careless
tellings mixed in, which leaves reinforcement learning something to do. `measure` measures what came out.
"""

import hint_grpo.stack  # noqa: F401

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from hint_grpo import prompts
from hint_grpo.errors import run_main
from hint_grpo.toy import models
from hint_grpo.toy.lessons import HONEST, Example, Mix, make_example
from hint_grpo.toy.models import Family
from hint_grpo.toy.tasks import make_tasks
from hint_grpo.toy.tokenizer import SHIPPED, TURN_END, learn_vocabulary

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
