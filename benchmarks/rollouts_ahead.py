"""Rollouts ahead against waiting: a vLLM server on one CPU core, the trainer on another, on the toy world's long chains.

    python benchmarks/rollouts_ahead.py [--seeds 1 2 3] [--prompts 8] [--steps 30]

How much the overlap saves depends on the shares of sampling and training; with 8 prompts a step both take about as long, as in
the published layout (docs/performance.md). For every seed the same training runs twice, with --rollouts_ahead 0 and 1, in
alternating order. Steps per minute are over the steps after the third. Accuracy is measured after the training, at level 0, on
200 new questions: sampled as in training (4 each), and greedily. The interval of its difference is a 95 % t interval over seeds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.measuring import STAGES
from eval.evidence import protocol
from eval.evidence.report import table
from eval.evidence.statistics import interval
from eval.runs import ROOT, flag_words, run, training_command
from hint_grpo.evaluation.pool import WorkerSlot
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.machine.hardware import available_cores
from hint_grpo.rollout.access import TOKEN_VARIABLE
from hint_grpo.rollout.server_process import ServerSettings, rollout_server, wait_until_up
from hint_grpo.toy.models import save_model
from hint_grpo.toy.tasks import TASK_SETS
from hint_grpo.toy.world import write_own_data

TASKS = "long"  # the base model solves none of them without a hint
FIRST_STEPS = 3  # not timed: the first one samples twice, imports and caches are cold
MEASURES = ("level_0", "greedy_training")
CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training: its timed steps' log rows, and the trained model's rates."""

    seed: int
    ahead: int
    rows: list[dict[str, Any]]
    rates: Mapping[str, float]

    @property
    def steps_per_minute(self) -> float:
        return 60 * len(self.rows) / sum(row["step_time"] for row in self.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--prompts", type=int, default=8, help="per step")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--questions", type=int, default=200, help="for the accuracy")
    parser.add_argument("--output_dir", type=Path, help="keep the runs in this folder (default: a temporary one)")
    arguments = parser.parse_args()
    cores = available_cores()
    if len(cores) < 2:
        raise UserError("this benchmark needs two cores: one for the server, one for the trainer")
    with tempfile.TemporaryDirectory() as scratch:
        root = (arguments.output_dir or Path(scratch)).resolve()
        outcomes = train_all(root, arguments, server_core=cores[0], trainer_core=cores[1])
    print(report(outcomes, arguments))


def train_all(root: Path, arguments: argparse.Namespace, *, server_core: int, trainer_core: int) -> list[Outcome]:
    model = save_model(root, protocol.FAMILY)
    write_own_data(root / "data", "ahead-train", protocol.NUM_TRAIN_TASKS, TASK_SETS[TASKS])
    settings = ServerSettings(
        model=str(model),
        dtype="float32",
        context_length=CONTEXT,
        max_num_seqs=64,
        gpu_memory_utilization=0.3,
    )
    os.sched_setaffinity(0, {server_core})  # the server inherits it, and its one thread
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    outcomes = []
    with rollout_server(settings, root / "server.log") as server:
        assert server is not None
        wait_until_up(server.url, 900, server, server.token)
        os.environ[TOKEN_VARIABLE] = server.token
        for place, seed in enumerate(arguments.seeds):
            for ahead in (0, 1) if place % 2 == 0 else (1, 0):
                run_dir = root / f"ahead-{ahead}-seed-{seed}"
                flags = {"per_device_train_batch_size": arguments.prompts, "max_steps": arguments.steps, "seed": seed}
                flags |= {"rollouts_ahead": ahead, "vllm_server_base_url": server.url, "output_dir": run_dir}
                train(run_dir.with_suffix(".txt"), model, root / "data", flags, trainer_core)
                rates = measure(run_dir, arguments.questions, trainer_core)
                outcomes.append(Outcome(seed, ahead, timed_rows(run_dir), rates))
                print(f"seed {seed}, ahead {ahead}: {outcomes[-1].steps_per_minute:.1f} steps per minute", flush=True)
    return outcomes


def train(log: Path, model: Path, data: Path, flags: Mapping[str, Any], core: int) -> None:
    shared = {
        "model_name_or_path": model,
        "data_path": data,
        **protocol.TRAINING,
        "use_vllm": True,
        "vllm_max_model_length": CONTEXT,
        "stop_on_logp_gap": False,
        "save_strategy": "no",
    }
    command = training_command({**shared, **flags}, recipe=ROOT / "eval" / "recipes" / f"{protocol.HINTS}.yaml")
    run(command, log, WorkerSlot(cores=(core,)))


def timed_rows(run_dir: Path) -> list[dict[str, Any]]:
    """The log's rows of the steps after the first ones, without the last: nothing is sampled beside it."""
    rows = [json.loads(line) for line in (run_dir / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "time/generate" in row][FIRST_STEPS:-1]


def measure(run_dir: Path, num_questions: int, core: int) -> Mapping[str, float]:
    file = run_dir / "rates.json"
    flags = {
        "tasks": TASKS,
        "only": list(MEASURES),
        "num_tasks": num_questions,
        "stream": "ahead-measured",
        "output_file": file,
    }
    command = [sys.executable, "-m", "hint_grpo.toy.measure", str(run_dir), *flag_words(flags)]
    run(command, run_dir.with_suffix(".txt"), WorkerSlot(cores=(core,)))
    (values,) = json.loads(file.read_text(encoding="utf-8")).values()
    return {name: values[TASKS][name]["per_sample"] for name in MEASURES}


def report(outcomes: list[Outcome], arguments: argparse.Namespace) -> str:
    import vllm

    by_ahead = {ahead: sorted((o for o in outcomes if o.ahead == ahead), key=lambda o: o.seed) for ahead in (0, 1)}
    ratios = [b.steps_per_minute / a.steps_per_minute for a, b in zip(by_ahead[0], by_ahead[1], strict=True)]
    lines = []
    for ahead, own in by_ahead.items():
        rows = [row for outcome in own for row in outcome.rows]
        stages = [f"{statistics.median(row[f'time/{name}'] for row in rows):.2f}" for name in STAGES]
        speed = interval([outcome.steps_per_minute for outcome in own])
        rates = [str(interval([outcome.rates[name] for outcome in own])) for name in MEASURES]
        lines.append(
            [str(ahead), str(speed), f"{statistics.median(row['step_time'] for row in rows):.2f}", *stages, *rates]
        )
    header = (
        "rollouts_ahead",
        "steps per minute",
        "s per step",
        *(f"{name} (s)" for name in STAGES),
        "right, sampled",
        "right, greedy",
    )
    differences = [
        interval([b.rates[name] - a.rates[name] for a, b in zip(by_ahead[0], by_ahead[1], strict=True)])
        for name in MEASURES
    ]
    return "\n".join(
        [
            f"{platform.machine()}, torch {torch.__version__}, vllm {vllm.__version__}; server on one core, trainer on another; "
            f"{arguments.steps} steps of {arguments.prompts} prompts x "
            f"{protocol.TRAINING['num_generations']} completions, M = 3, lazy; seeds {', '.join(map(str, arguments.seeds))}",
            "",
            *table(header, lines),
            "",
            f"steps per minute, ahead over not, by seed: {' '.join(f'{ratio:.2f}' for ratio in ratios)}; "
            f"median {statistics.median(ratios):.2f}",
            f"ahead minus not: sampled {differences[0]}, greedy {differences[1]}",
        ]
    )


if __name__ == "__main__":
    run_main(main)
