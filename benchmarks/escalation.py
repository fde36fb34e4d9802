"""What hint levels add to a training step: lazy and eager escalation and the original's schedule, over plain GRPO.

    python benchmarks/escalation.py [--steps 6]

One trainer with one vLLM engine in its process runs steps of all variants in turn, so that other load on the machine affects
all alike; the table has ratios of medians.

- Half of a step's prompts fail level 0 and half of those level 1, fixed in advance (the model has random weights).
- Each completion's length is drawn from a log-normal distribution, by round, prompt, level and place in the group, and is the
  same for all variants. A hint that gives a third of a reasoning leaves two thirds to write. Sigma 0.6 is that of Qwen2-VL-7B's
  published answers to GeoQA (the longest is ten times the median).
- The published command's step on a node of 8 GPUs has 7 prompts x 4 completions; here it has 8 x 4.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hint_grpo.machine.stack  # noqa: F401

import argparse
import math
import platform
import random
import statistics
import tempfile
import time
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback, TrainerCallback
from vllm.v1.engine.parallel_sampling import ParentRequest

from benchmarks.profiles import OriginalSchedule
from benchmarks.random_model import save_random_model
from hint_grpo.data.dataset import load_training_data
from hint_grpo.policies.paper import Adaptive, NoHints
from hint_grpo.rollout import vllm_colocate
from hint_grpo.toy.world import build_world
from hint_grpo.training.config import HintGRPOConfig

PLAIN, LAZY, EAGER, ORIGINAL = "num_groups 1", "num_groups 3, lazy", "num_groups 3, eager", "original's schedule"
VARIANTS = (PLAIN, LAZY, EAGER, ORIGINAL)
MEDIAN_TOKENS, SIGMA, MAX_TOKENS = 48, 0.6, 192  # of a completion's length without a hint


def length(key: str, level: int, num_levels: int = 3) -> int:
    """Length of a completion in tokens: log-normal, determined by `key`, and shorter by the share that the hint gives."""
    drawn = random.Random(key).lognormvariate(math.log(MEDIAN_TOKENS), SIGMA)
    return max(4, round(min(MAX_TOKENS, drawn) * (1 - level / num_levels)))


class FixedLengthVLLM(vllm_colocate.ColocatedVLLM):
    """Ends every completion at its length from `length`, which is the same for all variants of a round."""

    round_number = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # vLLM derives each completion's sampling settings here from those of its group: set its length too.
        one_of_a_group = ParentRequest._get_child_sampling_params

        def with_length(request: ParentRequest, place: int) -> Any:
            prompt, level = request.external_req_id.split("-")
            tokens = length(f"{self.round_number}/{prompt}/{level}/{place}", int(level))
            settings = copy(one_of_a_group(request, place))
            settings.max_tokens = tokens
            return settings

        ParentRequest._get_child_sampling_params = with_length  # type: ignore[method-assign]

    def _settings(self, turn: Any, num_generations: int) -> dict[str, Any]:
        return super()._settings(turn, num_generations) | {"ignore_eos": True}


class AlternateVariants(TrainerCallback):
    """Switches the trainer to the next variant before every step; collects the steps' times and tokens by variant."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        self.tokens: dict[str, list[int]] = {variant: [] for variant in VARIANTS}
        self.generating: dict[str, list[float]] = {variant: [] for variant in VARIANTS}

    def on_step_begin(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        self.variant = VARIANTS[state.global_step % len(VARIANTS)]
        policy = NoHints() if self.variant == PLAIN else Adaptive(3)
        self.trainer.turn_builder = replace(self.trainer.turn_builder, policy=policy)
        self.trainer.args.escalation = "lazy" if self.variant in (PLAIN, LAZY) else "eager"
        self.trainer.scores_all_levels = self.variant == ORIGINAL
        self.trainer.backend.round_number = state.global_step // len(VARIANTS)
        self.trainer.stages.take()
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        seconds = time.perf_counter() - self.start
        if state.global_step <= len(VARIANTS):  # warm-up
            return
        self.seconds[self.variant].append(seconds)
        self.generating[self.variant].append(self.trainer.stages.take()["generate"])
        self.tokens[self.variant].append(
            sum(len(c.token_ids) for r in self.trainer.batch.rollouts for g in r.groups.values() for c in g.completions)
        )


def measure(
    root: Path, steps: int, prompts: int, group: int, hidden_size: int, layers: int
) -> tuple[AlternateVariants, int]:
    """Runs one warm-up step and `steps` steps per variant; returns the measurements and the model's number of parameters."""
    world = build_world(root / "world", num_train=160, num_test=1, families=("Qwen2.5-VL",))
    parameters = save_random_model(
        root / "model", hidden_size=hidden_size, num_layers=layers, vocab_size=4096, end_share=0.0
    )
    processor = AutoProcessor.from_pretrained(root / "model", padding_side="left")
    dataset, _ = load_training_data(world.train_data, tokenizer=processor.tokenizer)
    dataset = dataset.filter(lambda row: len(row["reasoning_steps"]) >= 3)
    config = HintGRPOConfig(
        output_dir=str(root / "run"),
        per_device_train_batch_size=prompts,
        num_generations=group,
        max_completion_length=MAX_TOKENS,
        max_prompt_length=512,
        max_steps=len(VARIANTS) * (steps + 1),
        num_train_epochs=99,
        learning_rate=0.0,  # every step does the same work
        num_groups=3,
        escalation="eager",  # so that the engine is large enough for all levels at once
        use_vllm=True,
        vllm_mode="colocate",
        vllm_enable_sleep_mode=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        log_completions=False,
        disable_tqdm=True,
        logging_strategy="no",
    )

    def accuracy(completions: list[Any], **_: Any) -> list[float]:
        return [0.0] * len(completions)  # replaced by the scorer of ProfiledTrainer

    vllm_colocate.ColocatedVLLM = FixedLengthVLLM  # type: ignore[misc]
    trainer = OriginalSchedule(
        model=AutoModelForImageTextToText.from_pretrained(root / "model", dtype=torch.float32),
        reward_funcs=[accuracy],
        accuracy=accuracy,
        args=config,
        train_dataset=dataset,
        processing_class=processor,
    )
    trainer.remove_callback(PrinterCallback)
    measured = AlternateVariants(trainer)
    trainer.add_callback(measured)
    trainer.train()
    return measured, parameters


def report(measured: AlternateVariants, parameters: int, prompts: int, group: int) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores"
    seconds = {variant: statistics.median(measured.seconds[variant]) for variant in VARIANTS}
    generating = {variant: statistics.median(measured.generating[variant]) for variant in VARIANTS}
    tokens = {variant: statistics.mean(measured.tokens[variant]) for variant in VARIANTS}
    lines = [
        f"{device}, {platform.machine()}, torch {torch.__version__}; random Qwen2.5-VL of {parameters / 1e6:.0f} M parameters, "
        f"{prompts} prompts x {group} completions; median of {len(measured.seconds[PLAIN])} steps of each variant",
        "",
        "| variant | s per step | over num_groups 1 | of that sampling (s) | tokens sampled per step | over num_groups 1 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {variant} | {seconds[variant]:.2f} | {100 * (seconds[variant] / seconds[PLAIN] - 1):+.1f} % | "
        f"{generating[variant]:.2f} | {tokens[variant]:.0f} | {tokens[variant] / tokens[PLAIN]:.2f} x |"
        for variant in VARIANTS
    ]
    return "\n".join([*lines, "", "The paper reports +20.5 % for its own schedule at M = 3 (7B, 8 GPUs)."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="measured steps per variant")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--hidden_size", type=int, default=320)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = (arguments.prompts, arguments.group)
        measured, parameters = measure(Path(folder), arguments.steps, *size, arguments.hidden_size, arguments.layers)
    print(report(measured, parameters, *size))


if __name__ == "__main__":
    main()
