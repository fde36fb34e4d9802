"""`make demo`: both claims of the paper in a toy world, in minutes on two CPU cores.

    1. Hint-GRPO and plain GRPO where the base model fails, two seeds each; and where it often succeeds, one seed each
    2. the accuracy of every model, and of the base model with and without text-bias calibration
    -> tables, plots and pages in output/demo

All numbers are measured in this run by the published entry points, train_model.py and test_model.py. eval.evidence has the
same experiments with more seeds.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from eval.evidence.jobs import Study, run_all
from eval.evidence.protocol import (
    EMPTY_CUE,
    FAMILY,
    HINTS,
    LABELS,
    PLAIN,
    Base,
    Evaluation,
    Experiment,
    Run,
    measurements_of,
)
from eval.evidence.report import table
from eval.evidence.results import Results
from eval.runs import ROOT
from hint_grpo.evaluation.results import wilson_interval
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.training import ledger

SHIPPED = Base(0)
"""The base model of the demo: the shipped weights, which `python -m hint_grpo.toy.warmup` made with seed 0."""
SEEDS = (1, 2)
NUM_MEASURED = 100
NUM_QUESTIONS = 300
SCALES = (0.0, 0.8)
FAILS = tuple(Run(SHIPPED, "long", method, seed) for seed in SEEDS for method in (HINTS, PLAIN))
SUCCEEDS = tuple(Run(SHIPPED, "short", method, SEEDS[0]) for method in (HINTS, PLAIN))
"""The boundary case."""
MISLED = Evaluation(SHIPPED, EMPTY_CUE)

# Printed at the end. All paths are in {out}.
CLOSING = """
Data utilisation is the share of prompts whose completions differ in reward; GRPO learns only from these.
{meaning}

Look at:
  {out}/runs/{shown}/report.html     every question, hint and answer of one training, in a browser
  {out}/evaluations/{evaluated}/report.html     the evaluated answers at both scales side by side
  {out}/tables.md     the tables above
  {out}/data_utilization.png     data utilisation over the steps of two runs, one of each method
  {out}/runs/{shown}/hint_ledger.jsonl     each training prompt with its hint level and rewards
  {out}/logs     full output of every command
docs/outputs.md explains all files and numbers, docs/evidence.md has the experiments with more seeds.

Next, every row and figure of the paper on the toy world:
  .venv/bin/python -m eval.reproduce --world toy

{seconds:.0f} s in all"""
MEANING = """\
These tables show the mechanism, not the paper's numbers. The toy model was made to fail on long chains ({long:.1%} right
before training): plain GRPO then finds nothing to learn from, and hints give it something. On short chains it is often right
({short:.1%}), and plain GRPO learns without hints. The cue in the questions of the last table agreed with the picture when the
model was made, and says nothing about these pictures: calibration is measured where text misleads."""

# ----------------------------------------------------------------------------------------------------
# Results


def share(num: int, total: int) -> str:
    """A share with its Wilson interval, as per cent."""
    low, high = wilson_interval(num, total)
    return f"{100 * num / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def model_cells(results: Results, model: Base | Run, tasks: str) -> list[str]:
    """Sampled and greedy accuracy without a hint. The samples of one prompt are alike, so only greedy answers get an interval."""
    sampled = results.rate(model, tasks, tasks, "level_0")
    greedy = [results.rate(model, tasks, tasks, f"greedy_{prompt}") for prompt in ("training", "evaluation")]
    num = results.study.num_measured
    return [f"{100 * sampled:.1f} %", *(share(round(one * num), num) for one in greedy)]


def training_rows(results: Results, runs: Sequence[Run]) -> list[list[str]]:
    """The base model, then every run with its data utilisation."""
    tasks = runs[0].tasks
    rows = [[f"{tasks} chains", "before training", "", "", *model_cells(results, SHIPPED, tasks)]]
    for one in sorted(runs, key=lambda one: one.method != HINTS):
        use = results.use(one)
        used = share(round(use.valid * use.num_prompts), use.num_prompts)
        rows.append(["", LABELS[one.method], str(one.seed), used, *model_cells(results, one, tasks)])
    return rows


def tables(results: Results) -> str:
    """Markdown: the runs, and the evaluation of the base model at both scales."""
    header = ("questions", "model", "seed", "data utilisation", "right, sampled", "right, greedy, training prompt")
    lines = table(
        (*header, "right, greedy, evaluation prompt"), training_rows(results, FAILS) + training_rows(results, SUCCEEDS)
    )
    accuracies = [results.accuracy(MISLED, scale) for scale in SCALES]
    compared = results.scales_compared(MISLED, SCALES[1], SCALES[0])
    rows = [
        [f"{scale:g}", str(results.study.num_questions), f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"]
        for scale, (value, (low, high)) in zip(SCALES, accuracies, strict=True)
    ]
    lines += ["", *table(("calibration scale", "questions with a misleading cue", "right, greedy"), rows), ""]
    lines += [
        f"Right only at 0.8: {compared.only_a}, only at 0.0: {compared.only_b} (McNemar's exact p = {compared.p_value:.2g})."
    ]
    return "\n".join(lines)


def write_results(results: Results) -> None:
    """Draws data utilisation over the steps of the first seed's two runs, prints and saves the tables."""
    from hint_grpo.training.plots import plot_utilization  # imports matplotlib

    study = results.study
    ledgers = {LABELS[one.method]: study.run(one) / ledger.FILE_NAME for one in FAILS[:2]}
    plot_utilization(ledgers, study.root / "data_utilization")
    text = tables(results)
    print(f"\n{text}")
    (study.root / "tables.md").write_text(text + "\n", encoding="utf-8")


def closing(results: Results, seconds: float) -> str:
    """What the tables mean, what to look at and what to try next; paths are relative if they are in the current folder."""
    out = results.study.root
    rates = {tasks: results.rate(SHIPPED, tasks, tasks, "level_0") for tasks in ("long", "short")}
    return CLOSING.format(
        meaning=MEANING.format(**rates),
        out=out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out,
        shown=FAILS[0].name,
        evaluated=MISLED.name,
        seconds=seconds,
    )


# ----------------------------------------------------------------------------------------------------
# Command line


def delete_earlier_demo(out: Path) -> None:
    """UserError for a folder that holds something else: it would be lost."""
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "logs").is_dir() or not any((out / name).exists() for name in ("protocol.json", "world")):
        raise UserError(f"--output_dir {out} is not empty and not an earlier demo: give another folder")
    shutil.rmtree(out)


def write_base(study: Study) -> None:
    """The shipped weights as the base model of all runs."""
    from hint_grpo.toy import models  # imports torch

    models.write_folder(models.warmed_up_model(FAMILY), FAMILY, study.base(SHIPPED))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output_dir", type=Path, default=ROOT / "output" / "demo", help="an earlier demo in it is deleted"
    )
    arguments = parser.parse_args()
    study = Study(arguments.output_dir.resolve(), "demo", NUM_MEASURED, NUM_QUESTIONS, SCALES)
    start = time.time()
    delete_earlier_demo(study.root)
    write_base(study)
    wanted = Experiment((*FAILS, *SUCCEEDS), tuple(measurements_of((*FAILS, *SUCCEEDS))), (MISLED,))
    print(f"{len(wanted.runs)} trainings, then the accuracy of every model", flush=True)
    run_all(study, wanted, lambda line: print(line, flush=True))
    results = Results(study)
    write_results(results)
    print(closing(results, time.time() - start))
    return 0


if __name__ == "__main__":
    run_main(main)
