"""The cost of a training step: plain TRL, this trainer without and with hint levels, the schedule of the original code.

    python benchmarks/train_step.py [--steps 2] [--rounds 6] [--tokens 96] [--only_storing]

One process times all variants in turn, round by round, so that other load on the machine affects all alike; the table has
medians and ratios. The setting: the toy world's Qwen2.5-VL, rollouts by transformers (plain TRL's vLLM path does not run on a
CPU), completions of equal length, and a level profile fixed in advance: half of the prompts succeed at level 0, a quarter at
level 1, a quarter at level 2.

The original's schedule samples every level of every prompt, scores every level by the policy and the reference model, and uses
one of them. Peak memory is measured in a fresh process per variant, above what the process used before training.

Storing the rollouts (rollouts/) is part of every step but plain TRL's. Its share is measured inside the steps of num_groups 3:
two runs with and without it would differ by more than it takes. Target: at most 2 % of a step, and no memory that grows with
the steps.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hint_grpo.machine.stack  # noqa: F401

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from transformers import AutoProcessor, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.measuring import StepTimes, device_name, in_fresh_process, peak_of, rss
from benchmarks.profiles import OriginalSchedule, ProfiledTrainer
from hint_grpo.data.dataset import load_training_data
from hint_grpo.data.images import open_image
from hint_grpo.machine.hardware import describe_machine
from hint_grpo.prompts import training_messages
from hint_grpo.toy.world import World, build_world
from hint_grpo.training import rollout_log
from hint_grpo.training.config import HintGRPOConfig

PLAIN, ONE, THREE, ORIGINAL = "plain TRL", "num_groups 1", "num_groups 3", "original's schedule"
VARIANTS = (PLAIN, ONE, THREE, ORIGINAL)
PROMPTS, GROUP = 4, 4  # per step; completions per prompt


def settings(folder: Path, tokens: int, steps: int, batch: int) -> dict[str, Any]:
    """The settings that all variants share. `batch` counts completions for plain TRL, prompts for this project."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch,
        "num_generations": GROUP,
        "max_completion_length": tokens,
        "generation_kwargs": {"min_new_tokens": tokens},
        "max_steps": steps,
        "beta": 0.04,
        "temperature": 0.9,
        "loss_type": "grpo",
        "learning_rate": 0.0,  # every round does the same work
        "bf16": False,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "log_completions": False,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "use_bias_correction_kl": False,
    }


def make(variant: str, world: World, folder: Path, tokens: int, steps: int) -> GRPOTrainer:
    """The trainer of a variant, with 64 training records."""
    path = str(world.models["Qwen2.5-VL"])
    processor = AutoProcessor.from_pretrained(path, padding_side="left")
    dataset, _ = load_training_data(world.train_data, tokenizer=processor.tokenizer)

    # For plain TRL: the first completion of every group is correct. The other trainers have the fixed level profile.
    def accuracy(completions: list[Any], **_: Any) -> list[float]:
        return [float(place % GROUP == 0) for place in range(len(completions))]

    common = {"model": path, "processing_class": processor}
    if variant == PLAIN:
        rows = [
            {"prompt": training_messages(row["question"]), "image": open_image(row["image"])}
            for row in dataset.select(range(64))
        ]
        args = GRPOConfig(**settings(folder, tokens, steps, PROMPTS * GROUP))
        trainer = GRPOTrainer(reward_funcs=[accuracy], args=args, train_dataset=Dataset.from_list(rows), **common)
    else:
        config = HintGRPOConfig(
            **settings(folder, tokens, steps, PROMPTS),
            num_groups=1 if variant == ONE else 3,
            escalation="eager" if variant == ORIGINAL else "lazy",
            max_prompt_length=1024,
        )
        kind = OriginalSchedule if variant == ORIGINAL else ProfiledTrainer
        trainer = kind(
            reward_funcs=[accuracy], accuracy=accuracy, args=config, train_dataset=dataset.select(range(64)), **common
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def time_steps(world: World, folder: Path, tokens: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """By variant, the mean seconds per step of each round, without the first round, which warms up."""
    trainers = {variant: make(variant, world, folder / variant, tokens, steps) for variant in VARIANTS}
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    clocks = {variant: StepTimes() for variant in VARIANTS}
    for variant, trainer in trainers.items():
        trainer.add_callback(clocks[variant])
    for _ in range(rounds + 1):
        for variant, trainer in trainers.items():
            trainer.train()
            seconds[variant].append(statistics.mean(clocks[variant].seconds))
            clocks[variant].seconds.clear()
    return {variant: values[1:] for variant, values in seconds.items()}


def ratio(seconds: list[float], baseline: list[float]) -> float:
    """Median of the ratios within a round, because the variants of one round ran within seconds of each other."""
    return statistics.median(one / other for one, other in zip(seconds, baseline, strict=True))


def peak_memory(variant: str, world: World, folder: Path, tokens: int) -> int:
    """Bytes that three training steps use at most, above what was in use before."""
    return peak_of(make(variant, world, folder, tokens, steps=3).train)


@dataclass
class Storing:
    """What storing the rollouts costs."""

    steps: int
    completions: int  # per step
    step_s: float  # median
    storing_s: float  # median; the part of the steps that makes and writes rows
    share: float  # of all steps together
    num_bytes: int  # on disk, per completion
    appended: tuple[int, int]  # from this many steps to this many,
    grown: int  # the process's memory grew by these bytes


@contextmanager
def storing_times() -> Iterator[list[float]]:
    """The seconds of every call that makes or writes rows of the rollout log."""
    seconds: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args)
            finally:
                seconds.append(time.perf_counter() - begun)

        return call

    log = rollout_log.RolloutLog
    with (
        patch.object(rollout_log, "rows_of", timed(rollout_log.rows_of)),
        patch.object(log, "append", timed(log.append)),
    ):
        yield seconds


def measure_storing(world: World, folder: Path, tokens: int, steps: int) -> Storing:
    """Trains `steps` steps after one to warm up; then appends the rows of the last step many times."""
    trainer = make(THREE, world, folder, tokens, steps + 1)
    clock = StepTimes()
    trainer.add_callback(clock)
    with storing_times() as calls:
        trainer.train()
    storing = [making + writing for making, writing in zip(calls[::2], calls[1::2], strict=True)]
    written = sum(file.stat().st_size for file in rollout_log.files_in(folder / rollout_log.FOLDER))
    total = sum(1 for _ in rollout_log.read(folder / rollout_log.FOLDER))
    few, many = 200, 5_000
    log, grown = rollout_log.RolloutLog(folder / "again", "all", 10**12), 0
    for step in range(1, many + 1):
        log.append(step, trainer.rows)
        grown = rss() if step == few else grown
    return Storing(
        steps=steps,
        completions=total // (steps + 1),
        step_s=statistics.median(clock.seconds[1:]),
        storing_s=statistics.median(storing[1:]),
        share=sum(storing[1:]) / sum(clock.seconds[1:]),
        num_bytes=written // total,
        appended=(few, many),
        grown=rss() - grown,
    )


def storing_report(found: Storing) -> str:
    few, many = found.appended
    return (
        f"storing the rollouts, {found.completions} completions per step: {1000 * found.storing_s:.1f} ms of a step of "
        f"{found.step_s:.2f} s (medians of {found.steps} steps), {100 * found.share:.2f} % of all steps; "
        f"{found.num_bytes} bytes per completion on disk; the process grows by {found.grown / 2**20:.1f} MiB while "
        f"{many - few:,} more steps are stored ({describe_machine()})"
    )


def report(seconds: dict[str, list[float]], memory: dict[str, int], arguments: argparse.Namespace) -> str:
    median = {variant: statistics.median(values) for variant, values in seconds.items()}
    lines = [
        f"{device_name()}, {platform.machine()}, torch {torch.__version__}; {PROMPTS} prompts x {GROUP} completions of "
        f"{arguments.tokens} tokens; medians of {len(seconds[PLAIN])} rounds of {arguments.steps} steps",
        "",
        "| variant | s per step | against plain TRL | against num_groups 1 | peak memory (MiB) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {variant} | {median[variant]:.3f} | {ratio(seconds[variant], seconds[PLAIN]):.2f} | "
        f"{ratio(seconds[variant], seconds[ONE]):.2f} | {memory[variant] / 2**20:.0f} |"
        for variant in VARIANTS
    ]
    lines += [
        "",
        f"overhead of num_groups 1 over plain TRL: {100 * (ratio(seconds[ONE], seconds[PLAIN]) - 1):+.1f} %",
        f"peak memory of num_groups 3 over num_groups 1: {100 * (memory[THREE] / memory[ONE] - 1):+.1f} %",
        f"original's schedule over ours at the same level profile: {ratio(seconds[ORIGINAL], seconds[THREE]):.2f} x the time, "
        f"{memory[ORIGINAL] / memory[THREE]:.2f} x the memory",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2, help="steps per variant and round")
    parser.add_argument("--rounds", type=int, default=6, help="measured rounds, after one to warm up")
    parser.add_argument("--tokens", type=int, default=96, help="tokens per completion")
    parser.add_argument("--storing_steps", type=int, default=12, help="steps in which storing the rollouts is measured")
    parser.add_argument(
        "--only_storing", action="store_true", help="measure what storing the rollouts costs, and no more"
    )
    parser.add_argument("--json", type=Path, help="also write the raw numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        world = build_world(root / "world", num_train=96, num_test=1, families=("Qwen2.5-VL",))
        storing = in_fresh_process(measure_storing, world, root / "storing", arguments.tokens, arguments.storing_steps)
        print(storing_report(storing), flush=True)
        if arguments.only_storing:
            return
        memory = {
            variant: in_fresh_process(peak_memory, variant, world, root / "memory", arguments.tokens)
            for variant in VARIANTS
        }
        seconds = time_steps(world, root / "time", arguments.tokens, arguments.steps, arguments.rounds)
    print(f"\n{report(seconds, memory, arguments)}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "memory": memory}))


if __name__ == "__main__":
    main()
