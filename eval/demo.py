"""`make demo`: the whole project once, on a toy world, in minutes on two CPU cores.

    toy world -> six training runs (Hint-GRPO and plain GRPO, three seeds, one starting point) -> evaluation with and without
    the picture and with calibration -> tables and plots in output/demo

Every figure is measured in this run by the published entry points, train_model.py and test_model.py.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from statistics import mean

from eval.reproduce.recipes import TOY_SETTINGS, read_settings
from eval.runs import (
    ROOT,
    each_on_a_slot,
    evaluation_command,
    flag_words,
    run,
    small_slots,
    toy_world_command,
    training_command,
)
from hint_grpo.evaluation.pool import WorkerSlot
from hint_grpo.machine.errors import run_main
from hint_grpo.training import ledger

POLICIES = {"adaptive": "Hint-GRPO", "none": "plain GRPO"}
SEEDS = (1, 2, 3)
LEARNING_RATE = 3e-4  # three times the recipes', for a fifth of their steps
LEVEL_0_TASKS = 96  # 4 completions each


def train_all(world: Path, out: Path, steps: int) -> None:
    """Six runs, as many at a time as there are slots (GPUs, or CPU cores)."""
    shared = read_settings(TOY_SETTINGS).training

    def train(job: tuple[str, int], slot: WorkerSlot) -> None:
        policy, seed = job
        flags = {
            "model_name_or_path": start_model(world),
            "data_path": world / "LLaVA-CoT-100k",
            **shared,
            "learning_rate": LEARNING_RATE,
            "hint_policy": policy,
            "num_groups": 3,
            "max_steps": steps,
            "save_steps": None,
            "save_strategy": "no",
            "seed": seed,
            "output_dir": out / f"{policy}-{seed}",
        }
        start = time.time()
        run(training_command(flags), out / "logs" / f"{policy}-{seed}.txt", slot)
        print(f"  {POLICIES[policy]}, seed {seed}: {steps} steps in {time.time() - start:.0f} s", flush=True)

    each_on_a_slot(train, [(policy, seed) for seed in SEEDS for policy in POLICIES], small_slots())


def after_training(world: Path, out: Path) -> None:
    """Level 0 of the starting model and of every run, and the evaluation of one; as many at a time as there are slots."""
    models = [start_model(world), *(out / f"{policy}-{seed}" for seed in SEEDS for policy in POLICIES)]
    common = {
        "model_path": out / f"adaptive-{SEEDS[0]}",
        "data_path": world / "Geo170K",
        "prompt_path": world / "geoqa_test_prompts.jsonl",
        "max_new_tokens": 96,
        "backend": "hf",  # starts several seconds sooner than vLLM, which counts for questions this few
    }
    commands = {
        "evaluation": evaluation_command({**common, "scale": [0.0, 0.8], "output_dir": out / "evaluation"}),
        "evaluation-no_image": evaluation_command(
            {**common, "scale": 0.0, "output_dir": out / "evaluation-no_image"}, no_image=True
        ),
    }
    for number, part in enumerate((models[0::2], models[1::2])):
        flags = flag_words({"num_tasks": LEVEL_0_TASKS, "level_0": out / f"level_0-{number}.json"})
        commands[f"level_0-{number}"] = [sys.executable, "-m", "hint_grpo.toy.measure", *map(str, part), *flags]

    def run_one(name: str, slot: WorkerSlot) -> None:
        run(commands[name], out / "logs" / f"{name}.txt", slot)

    each_on_a_slot(run_one, sorted(commands, reverse=True), small_slots())  # the longest first


def start_model(world: Path) -> Path:
    return world / "Qwen2.5-VL-toy"


def level_0_after(out: Path) -> dict[str, float]:
    """By model folder: share of right completions without a hint, sampled as in training."""
    return {name: share for file in out.glob("level_0-*.json") for name, share in json.loads(file.read_text()).items()}


def training_table(out: Path, start: Path) -> list[str]:
    """Data utilisation over the run from the hint ledgers, and the reward at level 0 after it."""
    level_0 = level_0_after(out)
    lines = [
        f"| run | seed | data utilisation | level 0 alone | level 0 after the run (before: {level_0[str(start)]:.3f}) |",
        "|---|---|---|---|---|",
    ]
    averages = []
    for policy, label in POLICIES.items():
        rows = []
        for seed in SEEDS:
            records = list(ledger.read(out / f"{policy}-{seed}" / ledger.FILE_NAME))
            rows.append(
                (
                    mean(record["valid"] for record in records),
                    mean(ledger.is_valid(record["rewards"]["0"]) for record in records),
                    level_0[str(out / f"{policy}-{seed}")],
                )
            )
            lines.append(f"| {label} | {seed} | " + " | ".join(f"{value:.3f}" for value in rows[-1]) + " |")
        means = [mean(column) for column in zip(*rows, strict=True)]
        averages.append(means)
        lines.append(f"| **{label}** | mean | " + " | ".join(f"**{value:.3f}**" for value in means) + " |")
    differences = [first - second for first, second in zip(*averages, strict=True)]
    return [*lines, "| difference | | " + " | ".join(f"{value:+.3f}" for value in differences) + " |"]


def evaluation_table(out: Path) -> list[str]:
    """Accuracy of one trained model: scale 0.0 and 0.8 with the picture, and without it."""
    lines = ["| evaluation | questions | accuracy, paper protocol | accuracy, strict |", "|---|---|---|---|"]
    for label, folder in {
        "with the picture, scale 0.0": "evaluation/scale-0.0",
        "with the picture, scale 0.8": "evaluation/scale-0.8",
        "without the picture": "evaluation-no_image/scale-0.0-no_image",
    }.items():
        summary = json.loads((out / folder / "summary.json").read_text())
        shares = (f"{100 * summary[name]:.1f} %" for name in ("accuracy_paper", "accuracy_strict"))
        lines.append(f"| {label} | {summary['num_questions']} | {' | '.join(shares)} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=ROOT / "output" / "demo")
    parser.add_argument("--steps", type=int, default=16, help="training steps of each run")
    arguments = parser.parse_args()
    out, start = arguments.output_dir.resolve(), time.time()
    shutil.rmtree(out, ignore_errors=True)  # a demo measures its own run
    world = out / "world"
    print("1. toy world", flush=True)
    run(toy_world_command(world), out / "logs" / "toy.txt")
    print(f"2. training ({len(SEEDS)} seeds each of Hint-GRPO and plain GRPO)", flush=True)
    train_all(world, out, arguments.steps)
    print("3. evaluation", flush=True)
    after_training(world, out)
    from hint_grpo.training.plots import plot_utilization

    ledgers = {label: out / f"{policy}-{SEEDS[0]}" / ledger.FILE_NAME for policy, label in POLICIES.items()}
    plot_utilization(ledgers, out / "data_utilization")
    tables = "\n".join(["", *training_table(out, start_model(world)), "", *evaluation_table(out), ""])
    print(tables)
    (out / "tables.md").write_text(tables)
    print(f"tables.md, data_utilization.png, evaluation/ and logs/ are in {out}; {time.time() - start:.0f} s in all")
    return 0


if __name__ == "__main__":
    run_main(main)
