"""How often a toy model solves toy tasks: per hint level by sampling, and greedily in both prompts, with and without picture.

python -m hint_grpo.toy.measure DIR/Qwen2.5-VL-toy --tasks short long cue
python -m hint_grpo.toy.measure RUN_1 RUN_2 --tasks long --only level_0 greedy_evaluation --output_file rates.json

Shape suffixes: B prompts, G completions per prompt.
"""

import hint_grpo.machine.stack  # noqa: F401

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from hint_grpo import hints, prompts
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.scoring import extract_answer, score
from hint_grpo.toy import tasks
from hint_grpo.toy.tasks import TASK_SETS, Task, make_tasks

TRAINING_TEMPERATURE = 0.9
BATCH_SIZE = 48  # prompts
MAX_NEW_TOKENS = 160  # the longest reasoning has about 140; a completion that is cut counts as not answered

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
    max_new_tokens: int = MAX_NEW_TOKENS,
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
    """Shares between 0 and 1, and the counts behind them."""

    per_sample: float  # correct completions
    any_of_group: float  # prompts with at least one correct completion
    answered: float  # completions that contain an answer, correct or not; one cut at max_new_tokens contains none
    num_right_B: tuple[int, ...] = field(repr=False, compare=False, default=())  # correct completions of every prompt


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
        num_right_B=tuple(map(sum, correct_BG)),
    )


# What can be measured, by name: (the prompts, how they are decoded). Greedy decoding is without the generation config's
# repetition penalty, which test_model.py applies.
GREEDY: dict[str, Any] = {}
NUM_SAMPLES = 4
SAMPLED: dict[str, Any] = {"num_samples": NUM_SAMPLES, "temperature": TRAINING_TEMPERATURE}
MEASURES: dict[str, tuple[Callable[[Sequence[Task]], list[GenerationRequest]], dict[str, Any]]] = {
    **{f"level_{level}": (partial(training_requests, level=level, num_levels=3), SAMPLED) for level in range(3)},
    "greedy_training": (partial(training_requests, level=0, num_levels=3), GREEDY),
    "greedy_evaluation": (partial(evaluation_requests, with_image=True), GREEDY),
    "greedy_no_picture": (partial(evaluation_requests, with_image=False), GREEDY),
    "sampled_evaluation": (partial(evaluation_requests, with_image=True), SAMPLED),
    "sampled_no_picture": (partial(evaluation_requests, with_image=False), SAMPLED),
}


def measure(model: PreTrainedModel, processor: Any, tasks: Sequence[Task], name: str, *, seed: int = 0) -> SolveRate:
    """One of MEASURES; samples are drawn at the training temperature, the same ones for the same seed."""
    make_requests, decoding = MEASURES[name]
    requests = make_requests(tasks)
    torch.manual_seed(seed)
    completions: list[list[str]] = []
    for start in range(0, len(requests), BATCH_SIZE):
        completions += complete(model, processor, requests[start : start + BATCH_SIZE], **decoding)
    return solve_rate(completions, tasks)


# ----------------------------------------------------------------------------------------------------
# Command line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hint_grpo.toy.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="a toy model's directory")
    parser.add_argument(
        "--tasks", nargs="+", choices=TASK_SETS, default=["short", "long", "cue"], help="default: short long cue"
    )
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="default: all")
    parser.add_argument("--num_tasks", type=int, default=128, help="of every set (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks and of sampling (default 0)")
    parser.add_argument("--stream", default="measure", help="name of the random stream of the tasks (default: measure)")
    parser.add_argument("--output_file", type=Path, help="also write the rates there, as JSON")
    arguments = parser.parse_args()
    if arguments.num_tasks < 1:
        raise UserError("--num_tasks must be at least 1")
    for directory in arguments.models:
        if not (directory / "config.json").is_file():
            raise UserError(f"{directory} contains no model; `python -m hint_grpo.toy DIR` writes toy models to DIR")
    return arguments


def main() -> None:
    arguments = parse()
    rates: dict[str, dict[str, dict[str, Any]]] = {}  # by model folder, task set and measure
    for directory in arguments.models:
        processor = AutoProcessor.from_pretrained(directory)
        model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
        print(f"{directory.name:36}{'per sample':>12}{'one of group':>14}{'answered':>12}")
        for name in arguments.tasks:
            tasks = make_tasks(f"{arguments.stream}-{arguments.seed}", arguments.num_tasks, TASK_SETS[name])
            for what in arguments.only:
                rate = measure(model, processor, tasks, what, seed=arguments.seed)
                rates.setdefault(str(directory), {}).setdefault(name, {})[what] = asdict(rate)
                print(
                    f"{f'{name}, {what}':36}{rate.per_sample:12.1%}{rate.any_of_group:14.1%}{rate.answered:12.1%}",
                    flush=True,
                )
    if arguments.output_file:
        arguments.output_file.parent.mkdir(parents=True, exist_ok=True)
        arguments.output_file.write_text(json.dumps(rates) + "\n")


if __name__ == "__main__":
    run_main(main)
