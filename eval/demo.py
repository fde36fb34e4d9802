"""`make demo`: the whole project once, on a toy world, in minutes on two CPU cores.

    toy world -> six training runs (Hint-GRPO and plain GRPO, three seeds, one starting point) -> evaluation with and without
    the picture and with calibration -> tables and plots in output/demo

Every figure is measured in this run by the published entry points, train_model.py and test_model.py.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from statistics import mean

from hint_grpo import ledger
from hint_grpo.errors import UserError, run_main

ROOT = Path(__file__).resolve().parents[1]
POLICIES = {"adaptive": "Hint-GRPO", "none": "plain GRPO"}
SEEDS = (1, 2, 3)


def training_command(world: Path, out: Path, policy: str, seed: int, steps: int) -> list[str]:
    flags = {
        "model_name_or_path": world / "Qwen2.5-VL-toy",
        "data_path": world / "LLaVA-CoT-100k",
        "dataset_name": "LLaVA-CoT-100k",
        "hint_policy": policy,
        "num_groups": 3,
        "num_generations": 4,
        "per_device_train_batch_size": 4,
        "max_prompt_length": 1024,
        "max_completion_length": 96,
        "max_steps": steps,
        "learning_rate": 3e-4,
        "use_vllm": "true",
        "save_strategy": "no",
        "gradient_checkpointing": "false",
        "log_completions": "false",
        "seed": seed,
        "output_dir": out,
    }
    return [
        sys.executable,
        "train_model.py",
        *(str(word) for name, value in flags.items() for word in (f"--{name}", value)),
    ]


def run(command: Sequence[str], log: Path, core: int | None = None) -> None:
    """Runs a command of the project with its output in `log`; on one core where one is given."""

    def bind() -> None:
        if core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})

    log.parent.mkdir(parents=True, exist_ok=True)
    # One thread each: a model of a million parameters is too small to share out.
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if core is not None else {})
    with log.open("w") as file:
        done = subprocess.run(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment, preexec_fn=bind, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        print(tail, file=sys.stderr)
        raise UserError(f"a step of the demo failed; its whole output is in {log}")


def train_all(world: Path, out: Path, steps: int) -> None:
    """Six runs, as many at a time as there are cores."""
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1):
        cores.put(core)

    def train(job: tuple[str, int]) -> None:
        policy, seed = job
        folder, core, start = out / f"{policy}-{seed}", cores.get(), time.time()
        try:
            run(training_command(world, folder, policy, seed, steps), out / "logs" / f"{policy}-{seed}.txt", core)
        finally:
            cores.put(core)
        print(f"  {POLICIES[policy]}, seed {seed}: {steps} steps in {time.time() - start:.0f} s", flush=True)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        list(pool.map(train, [(policy, seed) for seed in SEEDS for policy in POLICIES]))


def training_table(out: Path) -> list[str]:
    """Data utilisation over the run, and the reward at level 0 in its first and last third, from the hint ledgers."""
    lines = [
        "| run | seed | data utilisation | level 0 alone | reward at level 0, first third | last third |",
        "|---|---|---|---|---|---|",
    ]
    averages = []
    for policy, label in POLICIES.items():
        rows = []
        for seed in SEEDS:
            records = list(ledger.read(out / f"{policy}-{seed}" / ledger.FILE_NAME))
            third = max(record["step"] for record in records) / 3
            at_level_0 = [(record["step"], mean(record["rewards"]["0"])) for record in records]
            rows.append(
                (
                    mean(record["valid"] for record in records),
                    mean(ledger.is_valid(record["rewards"]["0"]) for record in records),
                    mean(reward for step, reward in at_level_0 if step <= third),
                    mean(reward for step, reward in at_level_0 if step > 2 * third),
                )
            )
            lines.append(f"| {label} | {seed} | " + " | ".join(f"{value:.3f}" for value in rows[-1]) + " |")
        means = [mean(column) for column in zip(*rows, strict=True)]
        averages.append(means)
        lines.append(f"| **{label}** | mean | " + " | ".join(f"**{value:.3f}**" for value in means) + " |")
    differences = [first - second for first, second in zip(*averages, strict=True)]
    return [*lines, "| difference | | " + " | ".join(f"{value:+.3f}" for value in differences) + " |"]


def evaluate(world: Path, model: Path, out: Path) -> list[str]:
    """Accuracy of one trained model: scale 0.0 and 0.8 with the picture, and without it."""
    common = [sys.executable, "test_model.py", "--model_path", str(model), "--data_path", str(world / "Geo170K")]
    common += ["--prompt_path", str(world / "geoqa_test_prompts.jsonl"), "--max_new_tokens", "96"]
    common += ["--output_dir", str(out / "evaluation")]
    run([*common, "--scale", "0.0", "0.8"], out / "logs" / "evaluation.txt")
    run([*common, "--scale", "0.0", "--no_image"], out / "logs" / "evaluation-no_image.txt")
    lines = ["| evaluation | questions | accuracy, paper protocol | accuracy, strict |", "|---|---|---|---|"]
    for label, folder in {
        "with the picture, scale 0.0": "scale-0.0",
        "with the picture, scale 0.8": "scale-0.8",
        "without the picture": "scale-0.0-no_image",
    }.items():
        summary = json.loads((out / "evaluation" / folder / "summary.json").read_text())
        shares = (f"{100 * summary[name]:.1f} %" for name in ("accuracy_paper", "accuracy_strict"))
        lines.append(f"| {label} | {summary['num_questions']} | {' | '.join(shares)} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=ROOT / "output" / "demo")
    parser.add_argument("--steps", type=int, default=16, help="training steps of each run")
    arguments = parser.parse_args()
    out, start = arguments.output_dir.resolve(), time.time()
    shutil.rmtree(out, ignore_errors=True)  # a demo measures its own run
    world = out / "world"
    print("1. toy world", flush=True)
    run([sys.executable, "-m", "hint_grpo.toy", str(world)], out / "logs" / "toy.txt")
    print(f"2. training ({len(SEEDS)} seeds each of Hint-GRPO and plain GRPO)", flush=True)
    train_all(world, out, arguments.steps)
    print("3. evaluation", flush=True)
    evaluation = evaluate(world, out / f"adaptive-{SEEDS[0]}", out)
    from hint_grpo.plots import plot_utilization

    ledgers = {label: out / f"{policy}-{SEEDS[0]}" / ledger.FILE_NAME for policy, label in POLICIES.items()}
    plot_utilization(ledgers, out / "data_utilization")
    tables = "\n".join(["", *training_table(out), "", *evaluation, ""])
    print(tables)
    (out / "tables.md").write_text(tables)
    print(f"tables.md, data_utilization.png, evaluation/ and logs/ are in {out}; {time.time() - start:.0f} s in all")
    return 0


if __name__ == "__main__":
    run_main(main)
