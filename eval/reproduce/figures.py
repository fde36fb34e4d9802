"""The paper's two observations and its curve over scales, from what is on disk; a figure whose data is not there is named.

OUTPUT_DIR/figures/data_utilization.{png,svg,csv}      S_valid over steps, plain GRPO against Hint-GRPO, from hint ledgers
OUTPUT_DIR/figures/text_bias.{png,svg,csv}             accuracy with and without the picture over checkpoints
OUTPUT_DIR/figures/accuracy_by_scale.{png,svg,csv}     accuracy against calibration scale
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.reproduce.plan import MAIN, PLAIN, both_ways, final_evaluation
from eval.reproduce.recipes import BASE, Row
from eval.reproduce.steps import Experiment, Training, summary_of
from hint_grpo.evaluation.summary import Summary
from hint_grpo.training import ledger

LABELS = {PLAIN: "GRPO", MAIN: "Hint-GRPO"}


def draw_all(experiment: Experiment, rows: Sequence[Row], runs_both_ways: Sequence[str]) -> list[str]:
    """Draws what it has the data for; a line for the user per figure."""
    from hint_grpo.evaluation.report import NAME, draw_scales
    from hint_grpo.training.plots import plot_text_bias, plot_utilization  # matplotlib: only now

    folder = experiment.output_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    said = []

    ledgers = _ledgers(experiment)
    if len(ledgers) == len(LABELS):
        plot_utilization(ledgers, folder / "data_utilization")
    said.append(_said(folder / "data_utilization.png", len(ledgers) == len(LABELS), f"runs {PLAIN} and {MAIN}"))

    curves = {LABELS.get(run, run): text_bias(run, experiment) for run in runs_both_ways}
    enough = bool(curves) and all(len(points) > 1 for points in curves.values())
    if enough:
        plot_text_bias(curves, folder / "text_bias")
    said.append(_said(folder / "text_bias.png", enough, "checkpoints evaluated with and without the picture"))

    drawn = draw_scales(scales(experiment, rows), folder) is not None
    said.append(_said(folder / f"{NAME}.png", drawn, f"evaluations of {MAIN} at several scales"))
    return said


def text_bias(run: str, experiment: Experiment) -> list[dict[str, Any]]:
    """A point per checkpoint that is evaluated both ways, step 0 (the model without training) first."""
    points = []
    for step, *ways in [*both_ways(BASE, experiment), *both_ways(run, experiment)]:
        seeing, blind = (summary_of(evaluation) for evaluation in ways)
        if seeing is not None and blind is not None:
            points.append({"step": step, "questions": seeing.num_questions, **_point(seeing, blind)})
    return points


def scales(experiment: Experiment, rows: Sequence[Row]) -> list[Summary]:
    """What the main run's weights give at each scale of the table."""
    wanted = sorted({row.scale for row in rows if row.run == MAIN})
    evaluation = final_evaluation(MAIN, experiment, tuple(wanted or [0.0]))
    found = [summary_of(evaluation, scale) for scale in wanted]
    return [summary for summary in found if summary is not None]


def _ledgers(experiment: Experiment) -> dict[str, Path]:
    folders = {
        run: experiment.training_folder(run) for run in LABELS if Training(experiment, run).state() == "finished"
    }
    return {LABELS[run]: folder / ledger.FILE_NAME for run, folder in folders.items()}


def _point(seeing: Summary, blind: Summary) -> dict[str, float]:
    """Shares of right answers and their intervals: with_paper, with_paper_low, ..., without_strict_high."""
    point: dict[str, float] = {}
    for protocol in ("paper", "strict"):
        for way, summary in (("with", seeing), ("without", blind)):
            low, high = getattr(summary, f"interval_{protocol}")
            point |= {f"{way}_{protocol}": getattr(summary, f"accuracy_{protocol}")}
            point |= {f"{way}_{protocol}_low": low, f"{way}_{protocol}_high": high}
    return point


def _said(picture: Path, drawn: bool, needed: str) -> str:
    return f"{picture}" if drawn else f"{picture.name} is not drawn: it needs {needed}"
