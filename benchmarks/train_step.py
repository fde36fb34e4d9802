"""The cost of a training step: plain TRL, this trainer without and with hint levels, the schedule of the original code.

    python benchmarks/train_step.py [--steps 2] [--rounds 6] [--tokens 96]

One process times all variants in turn, round by round, so that other load on the machine affects all alike; the table has
medians and ratios. The setting: the toy world's Qwen2.5-VL, rollouts by transformers (plain TRL's vLLM path does not run on a
CPU), completions of equal length, and a level profile fixed in advance: half of the prompts succeed at level 0, a quarter at
level 1, a quarter at level 2.

The original's schedule samples every level of every prompt, scores every level by the policy and the reference model, and uses
one of them. Peak memory is measured in a fresh process per variant, above what the process used before training.
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
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoProcessor
from trl import GRPOConfig, GRPOTrainer

from benchmarks.measuring import StepTimes, in_fresh_process, peak_of
from benchmarks.profiles import OriginalSchedule, ProfiledTrainer
from hint_grpo.data.dataset import load_training_data
from hint_grpo.data.images import open_image
from hint_grpo.prompts import training_messages
from hint_grpo.toy.world import World, build_world
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
        return GRPOTrainer(reward_funcs=[accuracy], args=args, train_dataset=Dataset.from_list(rows), **common)
    config = HintGRPOConfig(
        **settings(folder, tokens, steps, PROMPTS),
        num_groups=1 if variant == ONE else 3,
        escalation="eager" if variant == ORIGINAL else "lazy",
        max_prompt_length=1024,
    )
    kind = OriginalSchedule if variant == ORIGINAL else ProfiledTrainer
    return kind(
        reward_funcs=[accuracy], accuracy=accuracy, args=config, train_dataset=dataset.select(range(64)), **common
    )


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


def report(seconds: dict[str, list[float]], memory: dict[str, int], arguments: argparse.Namespace) -> str:
    median = {variant: statistics.median(values) for variant, values in seconds.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores"
    lines = [
        f"{device}, {platform.machine()}, torch {torch.__version__}; {PROMPTS} prompts x {GROUP} completions of "
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
    parser.add_argument("--json", type=Path, help="also write the raw numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        world = build_world(root / "world", num_train=96, num_test=1, families=("Qwen2.5-VL",))
        memory = {
            variant: in_fresh_process(peak_memory, variant, world, root / "memory", arguments.tokens)
            for variant in VARIANTS
        }
        seconds = time_steps(world, root / "time", arguments.tokens, arguments.steps, arguments.rounds)
    print(report(seconds, memory, arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "memory": memory}))


if __name__ == "__main__":
    main()
