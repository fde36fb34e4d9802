"""How often a toy model solves the toy tasks: per hint level by sampling, and greedily with and without the picture.

python -m hint_grpo.toy.measure DIR/Qwen2.5-VL-toy
python -m hint_grpo.toy.measure RUN_1 RUN_2 RUN_3 --level_0 level_0.json      what training compares, and nothing else
"""

import hint_grpo.machine.stack  # noqa: F401

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from hint_grpo import hints, prompts
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.scoring import extract_answer, score
from hint_grpo.toy import tasks
from hint_grpo.toy.tasks import Task, make_tasks

TRAINING_TEMPERATURE = 0.9


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt and the beginning of the answer to it."""

    messages: list[prompts.Message]
    image: Image.Image | None
    begun: str


def picture_of(task: Task, index: int) -> Image.Image:
    return tasks.draw(task.picture, random.Random(f"measure/{index}"))


def training_turns(tasks: Sequence[Task], level: int, num_levels: int) -> list[Turn]:
    return [
        Turn(
            prompts.training_messages(task.question),
            picture_of(task, index),
            prompts.begun_turn(hints.hint_at_level(task.steps, level, num_levels)),
        )
        for index, task in enumerate(tasks)
    ]


def evaluation_turns(tasks: Sequence[Task], *, with_image: bool) -> list[Turn]:
    return [
        Turn(
            prompts.evaluation_messages(task.question, with_image=with_image),
            picture_of(task, index) if with_image else None,
            "",
        )
        for index, task in enumerate(tasks)
    ]


def _inputs(processor: Any, turns: Sequence[Turn]) -> dict[str, torch.Tensor]:
    """Left-padded; the begun turn is tokenised apart from the prompt, as the trainer does it."""
    tokenizer = processor.tokenizer
    texts = [processor.apply_chat_template(turn.messages, add_generation_prompt=True, tokenize=False) for turn in turns]
    images = [turn.image for turn in turns if turn.image is not None]
    encoded = processor(text=texts, images=images or None, padding=False)
    rows = [
        prompt + (tokenizer(turn.begun)["input_ids"] if turn.begun else [])
        for prompt, turn in zip(encoded["input_ids"], turns, strict=True)
    ]
    padded = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
    inputs = {**padded, "mm_token_type_ids": (padded["input_ids"] == processor.image_token_id).int()}
    for name in ("pixel_values", "image_grid_thw"):
        if name in encoded:
            inputs[name] = torch.as_tensor(encoded[name])
    return inputs


@torch.no_grad()
def complete(
    model: PreTrainedModel,
    processor: Any,
    turns: Sequence[Turn],
    *,
    num_samples: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 96,
    repetition_penalty: float = 1.0,
) -> list[list[str]]:
    """`num_samples` completions of every turn, without what was begun; a temperature of 0 is greedy."""
    inputs = _inputs(processor, turns)
    vision = [processor.tokenizer.convert_tokens_to_ids(t) for t in ("<|image_pad|>", "<|video_pad|>")]
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    output = model.generate(  # type: ignore[operator]  # typed as a submodule
        **inputs,
        max_new_tokens=max_new_tokens,
        num_return_sequences=num_samples,
        repetition_penalty=repetition_penalty,
        suppress_tokens=vision,
        **(sampling if temperature else {"do_sample": False}),
    )
    texts = processor.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [texts[i : i + num_samples] for i in range(0, len(texts), num_samples)]


@dataclass(frozen=True, slots=True)
class SolveRate:
    per_sample: float
    any_of_group: float  # prompts with at least one correct completion
    answered: float  # completions that hold an answer at all


def solve_rate(completions_BG: Sequence[Sequence[str]], tasks: Sequence[Task]) -> SolveRate:
    correct_BG = [
        [score(text, task.solution) == 1.0 for text in group] for group, task in zip(completions_BG, tasks, strict=True)
    ]
    texts = [text for group in completions_BG for text in group]
    return SolveRate(
        per_sample=sum(map(sum, correct_BG)) / len(texts),
        any_of_group=sum(map(any, correct_BG)) / len(correct_BG),
        answered=sum(extract_answer(text) is not None for text in texts) / len(texts),
    )


def level_rates(
    model: PreTrainedModel, processor: Any, tasks: Sequence[Task], *, num_levels: int = 3, num_samples: int = 4
) -> list[SolveRate]:
    """Solve rate at every hint level, sampled at the training temperature."""
    return [
        solve_rate(
            complete(
                model,
                processor,
                training_turns(tasks, level, num_levels),
                num_samples=num_samples,
                temperature=TRAINING_TEMPERATURE,
            ),
            tasks,
        )
        for level in range(num_levels)
    ]


def greedy_rate(model: PreTrainedModel, processor: Any, tasks: Sequence[Task], *, with_image: bool) -> SolveRate:
    """Greedy accuracy in the evaluation format, without the generation config's repetition penalty."""
    return solve_rate(complete(model, processor, evaluation_turns(tasks, with_image=with_image)), tasks)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.toy.measure", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="a toy model's directory")
    parser.add_argument(
        "--level_0", type=Path, metavar="FILE", help="sample without hints only; write the shares as JSON"
    )
    parser.add_argument("--num_tasks", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for directory in arguments.models:
        if not (directory / "config.json").is_file():
            raise UserError(f"{directory} holds no model; `python -m hint_grpo.toy DIR` writes some under DIR")
    tasks = make_tasks(f"measure-{arguments.seed}", arguments.num_tasks)
    shares = {}
    for directory in arguments.models:
        processor = AutoProcessor.from_pretrained(directory)
        model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
        torch.manual_seed(arguments.seed)
        print(f"{directory.name:24}{'per sample':>12}{'one of four':>12}{'answered':>12}")
        if arguments.level_0:
            (rate,) = level_rates(model, processor, tasks, num_levels=1)
            shares[str(directory)] = rate.per_sample
            _print_row("hint level 0", rate)
        else:
            _measure_all(model, processor, tasks)
    if arguments.level_0:
        arguments.level_0.write_text(json.dumps(shares, indent=2) + "\n")


def _measure_all(model: PreTrainedModel, processor: Any, tasks: Sequence[Task]) -> None:
    for level, rate in enumerate(level_rates(model, processor, tasks)):
        _print_row(f"hint level {level} of 3", rate)
    for name, with_image in (("greedy", True), ("greedy, no picture", False)):
        _print_row(name, greedy_rate(model, processor, tasks, with_image=with_image))
        for needs_picture in (True, False):
            part = [task for task in tasks if task.needs_picture == needs_picture]
            rate = greedy_rate(model, processor, part, with_image=with_image)
            _print_row(f"  in the {'picture' if needs_picture else 'question'}", rate)


def _print_row(name: str, rate: SolveRate) -> None:
    print(f"{name:24}{rate.per_sample:12.1%}{rate.any_of_group:12.1%}{rate.answered:12.1%}", flush=True)


if __name__ == "__main__":
    run_main(main)
