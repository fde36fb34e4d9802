"""How often a toy model solves the toy tasks: per hint level by sampling, and greedily with and without the picture.

python -m hint_grpo.toy.measure DIR/Qwen2.5-VL-toy
python -m hint_grpo.toy.measure RUN_1 RUN_2 RUN_3 --level_0 level_0.json      level 0 only, as `make demo` compares runs

Shape suffixes: B prompts, G completions per prompt.
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

# ----------------------------------------------------------------------------------------------------
# Requests and their completions


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt and the beginning of its answer, which the model continues."""

    messages: list[prompts.Message]
    image: Image.Image | None
    begun: str


def picture_of(task: Task, index: int) -> Image.Image:
    """The same drawing for the same task and index in every measurement."""
    return tasks.draw(task.picture, random.Random(f"measure/{index}"))


def training_requests(tasks: Sequence[Task], level: int, num_levels: int) -> list[GenerationRequest]:
    """The tasks in the training format, with the hint of one level."""
    return [
        GenerationRequest(
            prompts.training_messages(task.question),
            picture_of(task, index),
            prompts.begun_turn(hints.hint_at_level(task.steps, level, num_levels)),
        )
        for index, task in enumerate(tasks)
    ]


def evaluation_requests(tasks: Sequence[Task], *, with_image: bool) -> list[GenerationRequest]:
    """The tasks in the evaluation format, with or without the picture."""
    return [
        GenerationRequest(
            prompts.evaluation_messages(task.question, with_image=with_image),
            picture_of(task, index) if with_image else None,
            "",
        )
        for index, task in enumerate(tasks)
    ]


def _inputs(processor: Any, requests: Sequence[GenerationRequest]) -> dict[str, torch.Tensor]:
    """The model's inputs, left-padded to (B, T). Prompt and `begun` are tokenised separately, as in the trainer."""
    tokenizer = processor.tokenizer
    texts = [
        processor.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
        for request in requests
    ]
    images = [request.image for request in requests if request.image is not None]
    encoded = processor(text=texts, images=images or None, padding=False)
    rows = [
        prompt + (tokenizer(request.begun)["input_ids"] if request.begun else [])
        for prompt, request in zip(encoded["input_ids"], requests, strict=True)
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
    requests: Sequence[GenerationRequest],
    *,
    num_samples: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 96,
    repetition_penalty: float = 1.0,
) -> list[list[str]]:
    """`num_samples` completions (G) of every request (B), without the begun part. A temperature of 0 means greedy."""
    inputs = _inputs(processor, requests)
    vision = [processor.tokenizer.convert_tokens_to_ids(t) for t in ("<|image_pad|>", "<|video_pad|>")]
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    # (B * G, T): the samples of one request are neighbours.
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


# ----------------------------------------------------------------------------------------------------
# Solve rates


@dataclass(frozen=True, slots=True)
class SolveRate:
    """Shares between 0 and 1."""

    per_sample: float  # correct completions
    any_of_group: float  # prompts with at least one correct completion
    answered: float  # completions that contain an answer, correct or not


def solve_rate(completions_BG: Sequence[Sequence[str]], tasks: Sequence[Task]) -> SolveRate:
    """Scores each task's completions with the project's strict protocol."""
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
                training_requests(tasks, level, num_levels),
                num_samples=num_samples,
                temperature=TRAINING_TEMPERATURE,
            ),
            tasks,
        )
        for level in range(num_levels)
    ]


def greedy_rate(model: PreTrainedModel, processor: Any, tasks: Sequence[Task], *, with_image: bool) -> SolveRate:
    """Greedy accuracy in the evaluation format, without the generation config's repetition penalty."""
    return solve_rate(complete(model, processor, evaluation_requests(tasks, with_image=with_image)), tasks)


# ----------------------------------------------------------------------------------------------------
# Command line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.toy.measure", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="a toy model's directory")
    parser.add_argument(
        "--level_0", type=Path, metavar="FILE", help="measure hint level 0 only; write its solve rates to FILE as JSON"
    )
    parser.add_argument("--num_tasks", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for directory in arguments.models:
        if not (directory / "config.json").is_file():
            raise UserError(f"{directory} contains no model; `python -m hint_grpo.toy DIR` writes toy models to DIR")
    tasks = make_tasks(f"measure-{arguments.seed}", arguments.num_tasks)
    shares = {}  # by model folder: correct completions at level 0
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
        # The same, separately for tasks whose numbers are in the picture and in the question.
        for needs_picture in (True, False):
            part = [task for task in tasks if task.needs_picture == needs_picture]
            rate = greedy_rate(model, processor, part, with_image=with_image)
            _print_row(f"  in the {'picture' if needs_picture else 'question'}", rate)


def _print_row(name: str, rate: SolveRate) -> None:
    print(f"{name:24}{rate.per_sample:12.1%}{rate.any_of_group:12.1%}{rate.answered:12.1%}", flush=True)


if __name__ == "__main__":
    run_main(main)
