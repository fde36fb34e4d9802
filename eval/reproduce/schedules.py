"""`--table schedules --world toy`: every hint schedule on the toy models of docs/evidence.md, with intervals over seeds.

The base model, the tasks and the training are those of experiment b of eval.evidence (questions that the base model solves and
fails, mixed); a method is a recipe. Finished jobs are kept, so the same command resumes.

OUTPUT_DIR/schedules.md, schedules.json      the table, and every run's numbers
OUTPUT_DIR/bases, data, runs, measurements, logs      as of eval.evidence
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.evidence import jobs
from eval.evidence.jobs import Job, Study
from eval.evidence.protocol import Base, Experiment, Measurement, Run, measurements_of
from eval.evidence.report import table
from eval.evidence.results import Results
from eval.evidence.statistics import interval
from eval.reproduce.recipes import BASE, TableRow
from eval.runs import flag_words

TASKS, WARMUP_SEED = "chains", 1
HEADER = (
    "method",
    "right on hard questions",
    "right on easy questions",
    "utilisation",
    "sampled tokens a step",
    "seeds",
)


def run_schedules(rows: Sequence[TableRow], seeds: Sequence[int], output: Path, overrides: Mapping[str, Any]) -> None:
    """Trains and measures what is missing, then prints and saves the table. `overrides`: flags for every training."""
    study = Study(output, "schedules")
    wanted = experiment_of(rows, seeds)
    check_overrides(output, overrides)
    jobs.check_protocol(study)
    jobs.write_data(study, wanted)
    trainings = [with_flags(jobs.training_job(study, one, halfway=False), overrides) for one in wanted.runs]
    measuring = [jobs.measuring_job(study, one) for one in wanted.measurements]
    stages = (jobs.base_jobs(study, wanted.bases), trainings, measuring)
    jobs.run_stages(study, stages, lambda line: print(line, flush=True))
    write_table(Results(study), rows, wanted, overrides)


def experiment_of(rows: Sequence[TableRow], seeds: Sequence[int]) -> Experiment:
    """The runs of the rows, each with every seed, and the measurements of their models and of the base model."""
    base = Base(WARMUP_SEED)
    methods = dict.fromkeys(row.run for row in rows if row.run != BASE)
    runs = tuple(Run(base, TASKS, method, seed) for method in methods for seed in seeds)
    measured = dict.fromkeys([Measurement(base, TASKS), *measurements_of(runs)])
    return Experiment(runs, tuple(measured))


def with_flags(job: Job, overrides: Mapping[str, Any]) -> Job:
    """The job with more flags; on a command line the last one wins."""
    return replace(job, command=[*job.command, *flag_words(overrides)])


def check_overrides(output: Path, overrides: Mapping[str, Any]) -> None:
    """Writes the flags behind `--`, or raises UserError if the folder has runs with others."""
    text = json.dumps({name: str(value) for name, value in overrides.items()}, sort_keys=True) + "\n"
    problem = f"{output} has runs with other flags behind `--`: use another --output_dir, or the same flags"
    jobs.check_same(output / "flags.json", text, problem)


# ----------------------------------------------------------------------------------------------------
# The table


def numbers_of(results: Results, one: Run) -> dict[str, Any]:
    """What the table averages over seeds, of one run."""
    return {
        "method": one.method,
        "seed": one.seed,
        "hard": results.rate(one, TASKS, "long", "level_0"),
        "easy": results.rate(one, TASKS, "short", "level_0"),
        "utilization": results.utilization(one),
        "tokens": results.tokens_per_step(one),
    }


def table_lines(rows: Sequence[TableRow], base: Mapping[str, float], numbers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table in Markdown: means over seeds with 95 % intervals. `base`: the base model's rates, `hard` and `easy`."""
    lines = []
    for row in rows:
        if row.run == BASE:
            lines.append([row.label, f"{base['hard']:.3f}", f"{base['easy']:.3f}", "-", "-", "-"])
            continue
        own = [one for one in numbers if one["method"] == row.run]
        cells = [str(interval([one[name] for one in own])) for name in ("hard", "easy", "utilization", "tokens")]
        lines.append([row.label, *cells, str(len(own))])
    return table(HEADER, lines)


def write_table(results: Results, rows: Sequence[TableRow], wanted: Experiment, overrides: Mapping[str, Any]) -> None:
    """Prints and saves the table and the numbers."""
    model, root = Base(WARMUP_SEED), results.study.root
    base = {name: results.rate(model, TASKS, tasks, "level_0") for name, tasks in (("hard", "long"), ("easy", "short"))}
    numbers = [numbers_of(results, one) for one in wanted.runs]
    text = "\n".join(table_lines(rows, base, numbers)) + "\n"
    (root / "schedules.md").write_text(text, encoding="utf-8")
    summary = {"base": base, "runs": numbers, "flags": {name: str(value) for name, value in overrides.items()}}
    (root / "schedules.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"\n{text}\nsaved: {root / 'schedules.md'}, {root / 'schedules.json'}", flush=True)
