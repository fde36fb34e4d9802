"""Runs the protocol's commands, as many at a time as there are GPUs or CPU cores, and keeps what is finished.

OUTPUT_DIR/bases/WARMUP_SEED/                 base models (python -m hint_grpo.toy.warmup --glances)
OUTPUT_DIR/data/                              training data and questions of every set of tasks
OUTPUT_DIR/runs/                              training runs (train_model.py)
OUTPUT_DIR/measurements/                      rates of base models and runs (python -m hint_grpo.toy.measure)
OUTPUT_DIR/evaluations/                       accuracy by scale (test_model.py)
OUTPUT_DIR/logs/                              everything that the commands printed
OUTPUT_DIR/protocol.json                      the settings: a folder holds the results of one protocol

A job is finished when its last file exists. A training that was interrupted starts again; it takes about a minute.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.evidence import protocol
from eval.evidence.protocol import Base, Evaluation, Experiment, Measurement, Run, in_file_name
from eval.runs import ROOT, each_on_a_slot, evaluation_command, flag_words, run, small_slots, training_command
from hint_grpo.evaluation.pool import WorkerSlot
from hint_grpo.machine.errors import UserError
from hint_grpo.training.checkpoints import STATE_FILE  # written last


@dataclass(frozen=True, slots=True)
class Study:
    """One set of results: its output folder, the name of its task stream, and how much is measured."""

    root: Path
    stream: str
    num_measured: int = protocol.NUM_MEASURED  # prompts of every set
    num_questions: int = protocol.NUM_QUESTIONS  # of every evaluation
    scales: tuple[float, ...] = protocol.SCALES

    def base(self, base: Base) -> Path:
        return self.root / "bases" / str(base.warmup_seed) / f"{protocol.FAMILY}-{base.glance:g}"

    def data(self, tasks: str) -> Path:
        """Training data."""
        return self.root / "data" / f"train-{in_file_name(tasks)}"

    def questions(self, cue: str) -> Path:
        return self.root / "data" / f"test-{in_file_name(cue)}"

    def run(self, run: Run) -> Path:
        return self.root / "runs" / run.name

    def model(self, model: Base | Run) -> Path:
        return self.base(model) if isinstance(model, Base) else self.run(model)

    def weights(self, measurement: Measurement) -> Path:
        folder = self.model(measurement.model)
        return folder / f"checkpoint-{protocol.HALFWAY}" if measurement.halfway else folder

    def measurement(self, measurement: Measurement) -> Path:
        return self.root / "measurements" / f"{measurement.name}.json"

    def evaluation(self, evaluation: Evaluation) -> Path:
        return self.root / "evaluations" / evaluation.name

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.txt"


@dataclass(frozen=True, slots=True)
class Job:
    """A command; `result` is the last file that it writes, `leftovers` the folder that an interrupted one leaves."""

    name: str
    command: Sequence[str]
    result: Path
    leftovers: Path | None = None

    @property
    def is_finished(self) -> bool:
        return self.result.is_file()


# ----------------------------------------------------------------------------------------------------
# Commands


def base_jobs(study: Study, bases: Sequence[Base]) -> list[Job]:
    """One job per warm-up seed, because all its base models start from one honest model."""
    jobs = []
    for seed in dict.fromkeys(base.warmup_seed for base in bases):
        wanted = [base for base in bases if base.warmup_seed == seed]
        words = {
            "family": protocol.FAMILY,
            "seed": seed,
            "glances": [f"{base.glance:g}" for base in wanted],
            "output_dir": study.root / "bases" / str(seed),
        }
        files = [study.base(base) / "config.json" for base in wanted]
        command = [sys.executable, "-m", "hint_grpo.toy.warmup", *flag_words(words)]
        jobs.append(Job(f"warmup-{seed}", command, next((file for file in files if not file.is_file()), files[-1])))
    return jobs


def training_job(study: Study, one: Run, *, halfway: bool) -> Job:
    """halfway: with a checkpoint in the middle."""
    flags = {
        "model_name_or_path": study.base(one.base),
        "data_path": study.data(one.tasks),
        **protocol.TRAINING,
        "save_strategy": "steps" if halfway else "no",
        "save_steps": protocol.HALFWAY if halfway else None,
        "seed": one.seed,
        "output_dir": study.run(one),
    }
    command = training_command(flags, recipe=ROOT / "eval" / "recipes" / f"{one.method}.yaml")
    return Job(one.name, command, study.run(one) / STATE_FILE, study.run(one))


def measuring_job(study: Study, measurement: Measurement) -> Job:
    sets, measures = protocol.MEASURED[measurement.tasks]
    flags = {
        "tasks": list(sets),
        "only": list(measures),
        "num_tasks": study.num_measured,
        "stream": f"{study.stream}-measured",
        "output_file": study.measurement(measurement),
    }
    command = [sys.executable, "-m", "hint_grpo.toy.measure", str(study.weights(measurement)), *flag_words(flags)]
    return Job(f"measured-{measurement.name}", command, study.measurement(measurement))


def evaluation_job(study: Study, evaluation: Evaluation) -> Job:
    questions = study.questions(evaluation.cue)
    flags = {
        "model_path": study.model(evaluation.model),
        "data_path": questions,
        "prompt_path": questions / "prompts.jsonl",
        "scale": list(study.scales),
        "max_new_tokens": 64,  # the longest correct reasoning has 50 tokens
        "backend": "hf",
        "output_dir": study.evaluation(evaluation),
    }
    last = study.evaluation(evaluation) / f"scale-{study.scales[-1]}" / "summary.json"
    return Job(f"evaluated-{evaluation.name}", evaluation_command(flags), last)


# ----------------------------------------------------------------------------------------------------
# Running them


def write_data(study: Study, wanted: Experiment) -> None:
    """The training data of every set, and the questions of the evaluations. The same name and stream give the same bytes."""
    from hint_grpo.toy.tasks import TASK_SETS
    from hint_grpo.toy.world import write_own_data  # imports torch: not for --help

    for tasks in dict.fromkeys(one.tasks for one in wanted.runs):
        if not (study.data(tasks) / "train.jsonl").is_file():
            write_own_data(study.data(tasks), f"{study.stream}-train", protocol.NUM_TRAIN_TASKS, TASK_SETS[tasks])
    for cue in dict.fromkeys(evaluation.cue for evaluation in wanted.evaluations):
        if not (study.questions(cue) / "train.jsonl").is_file():
            write_own_data(study.questions(cue), f"{study.stream}-test", study.num_questions, TASK_SETS[cue])


def check_protocol(study: Study) -> None:
    """Writes protocol.json, or raises UserError if the folder holds results of other settings."""
    names = ("TRAINING", "NUM_TRAIN_TASKS", "MEASURED", "HALFWAY", "FAMILY")
    settings: dict[str, Any] = {name.lower(): getattr(protocol, name) for name in names}
    settings |= {name: getattr(study, name) for name in ("stream", "num_measured", "num_questions", "scales")}
    problem = f"{study.root} holds results of another protocol or stream: give another --output_dir"
    check_same(study.root / "protocol.json", json.dumps(settings, indent=1) + "\n", problem)


def check_same(file: Path, text: str, problem: str) -> None:
    """Writes the settings of a folder's runs, or raises UserError with `problem` if the file has other ones."""
    if file.is_file() and file.read_text("utf-8") != text:
        raise UserError(problem)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def run_all(study: Study, wanted: Experiment, report: Callable[[str], None]) -> None:
    """Runs what is not finished: base models, then trainings, then measurements and evaluations."""
    check_protocol(study)
    write_data(study, wanted)
    halfway = {m.model for m in wanted.measurements if m.halfway}
    stages = (
        base_jobs(study, wanted.bases),
        [training_job(study, one, halfway=one in halfway) for one in wanted.runs],
        [
            *(evaluation_job(study, evaluation) for evaluation in wanted.evaluations),  # the longest first
            *(measuring_job(study, measurement) for measurement in wanted.measurements),
        ],
    )
    run_stages(study, stages, report)


def run_stages(study: Study, stages: Iterable[Sequence[Job]], report: Callable[[str], None]) -> None:
    """Runs the jobs that are not finished, a stage after the other."""

    def run_one(job: Job, slot: WorkerSlot) -> None:
        start = time.time()
        if job.leftovers is not None:
            shutil.rmtree(job.leftovers, ignore_errors=True)
        run(job.command, study.log(job.name), slot)
        report(f"  {job.name}: {time.time() - start:.0f} s")

    slots = small_slots()
    for jobs in stages:
        each_on_a_slot(run_one, [job for job in jobs if not job.is_finished], slots)
