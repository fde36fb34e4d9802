"""`make demo`: the whole project once, on a toy world, in minutes on two CPU cores.

    1. a toy world
    2. six training runs from one starting point: Hint-GRPO and plain GRPO, three seeds each
    3. evaluation of one trained model, with and without the picture and with calibration
    -> tables, plots and pages in output/demo

All numbers are measured in this run by the published entry points, train_model.py and test_model.py.
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
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.training import ledger

POLICIES = {"adaptive": "Hint-GRPO", "none": "plain GRPO"}  # --hint_policy: label
SEEDS = (1, 2, 3)
LEARNING_RATE = 3e-4  # three times the recipes', for a fifth of their steps
LEVEL_0_TASKS = 96  # 4 completions each
# Printed at the end. All paths are in {out}.
CLOSING = """
Data utilisation is the share of prompts whose completions differ in reward; GRPO learns only from these.

Look at:
  {out}/adaptive-1/report.html                every question, hint and answer of one training, in a browser
  {out}/evaluation/report.html                the evaluated answers at both scales side by side
  {out}/tables.md                             the tables above
  {out}/data_utilization.png                  data utilisation over the steps of two runs, one of each method
  {out}/evaluation/accuracy_by_scale.png      accuracy against calibration scale
  {out}/evaluation/scale-0.8/results.jsonl    each question with its answer and whether it is correct
  {out}/adaptive-1/hint_ledger.jsonl          each training prompt with its hint level and rewards
  {out}/logs                                  full output of every command
docs/outputs.md explains all files and numbers.

Next, every row and figure of the paper on a toy world (about a quarter of an hour on two CPU cores):
  .venv/bin/python -m eval.reproduce --world toy

{seconds:.0f} s in all"""

# ----------------------------------------------------------------------------------------------------
# The three steps


def start_model(world: Path) -> Path:
    """The model that every run starts from."""
    return world / "Qwen2.5-VL-toy"


def train_all(world: Path, out: Path, steps: int) -> None:
    """Six runs of `steps` steps, as many at a time as there are slots (GPUs, or CPU cores)."""
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
    """The evaluation of one run, and the accuracy at level 0 of the starting model and of every run.

    As many commands at a time as there are slots.
    """
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
    # Level 0 is measured by two commands, for two slots.
    for number, part in enumerate((models[0::2], models[1::2])):
        flags = flag_words({"num_tasks": LEVEL_0_TASKS, "level_0": out / f"level_0-{number}.json"})
        commands[f"level_0-{number}"] = [sys.executable, "-m", "hint_grpo.toy.measure", *map(str, part), *flags]

    def run_one(name: str, slot: WorkerSlot) -> None:
        run(commands[name], out / "logs" / f"{name}.txt", slot)

    each_on_a_slot(run_one, sorted(commands, reverse=True), small_slots())  # the longest first


# ----------------------------------------------------------------------------------------------------
# Results


def level_0_after(out: Path) -> dict[str, float]:
    """By model folder: share of correct completions without a hint, sampled as in training."""
    return {name: share for file in out.glob("level_0-*.json") for name, share in json.loads(file.read_text()).items()}


def training_table(out: Path, start: Path) -> list[str]:
    """Markdown lines: per run its data utilisation, what level 0 alone would give, and the accuracy at level 0 afterwards.

    The first two are means over the hint ledger; the last lines are the difference of the methods' means.
    """
    level_0 = level_0_after(out)
    lines = [
        f"| run | seed | data utilisation | level 0 alone | level 0 after the run (before: {level_0[str(start)]:.3f}) |",
        "|---|---|---|---|---|",
    ]
    averages = []  # one list of column means per method
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
    """Markdown lines: accuracy of one trained model with the picture at scales 0.0 and 0.8, and without it."""
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


def write_results(out: Path, start: Path) -> None:
    """Draws data utilisation over the steps of the first seed's two runs, prints and saves the tables, writes the report
    pages."""
    from hint_grpo.training.plots import plot_utilization  # imports matplotlib

    ledgers = {label: out / f"{policy}-{SEEDS[0]}" / ledger.FILE_NAME for policy, label in POLICIES.items()}
    plot_utilization(ledgers, out / "data_utilization")
    tables = "\n".join(["", *training_table(out, start), "", *evaluation_table(out), ""])
    print(tables, end="")
    (out / "tables.md").write_text(tables)
    for folder in (out / f"adaptive-{SEEDS[0]}", out / "evaluation"):
        run([sys.executable, "-m", "hint_grpo.report", str(folder)], out / "logs" / f"report-{folder.name}.txt")


def closing(out: Path, seconds: float) -> str:
    """What to look at and what to try next; paths are relative if they are in the current folder."""
    shown = out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out
    return CLOSING.format(out=shown, seconds=seconds)


# ----------------------------------------------------------------------------------------------------
# Command line


def delete_earlier_demo(out: Path) -> None:
    """UserError for a folder that holds something else: it would be lost."""
    if not out.exists() or not any(out.iterdir()):
        return
    if not ((out / "world").is_dir() or (out / "logs" / "toy.txt").is_file()):
        raise UserError(f"--output_dir {out} is not empty and not an earlier demo: give another folder")
    shutil.rmtree(out)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output_dir", type=Path, default=ROOT / "output" / "demo", help="an earlier demo in it is deleted"
    )
    parser.add_argument("--steps", type=int, default=16, help="training steps of each run (default 16)")
    arguments = parser.parse_args()
    out, start = arguments.output_dir.resolve(), time.time()
    delete_earlier_demo(out)
    world = out / "world"

    print("1. toy world", flush=True)
    run(toy_world_command(world), out / "logs" / "toy.txt")
    print(f"2. training ({len(SEEDS)} seeds each of Hint-GRPO and plain GRPO)", flush=True)
    train_all(world, out, arguments.steps)
    print("3. evaluation", flush=True)
    after_training(world, out)

    write_results(out, start_model(world))
    print(closing(out, time.time() - start))
    return 0


if __name__ == "__main__":
    run_main(main)
