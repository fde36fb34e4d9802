"""The result of a reproduction, from the files on disk: the ablation table and the figures.

OUTPUT_DIR/table.md, table.csv                         the paper's number beside the measured ones, a line per row and preset
OUTPUT_DIR/figures/data_utilization.{png,svg,csv}      S_valid over steps, plain GRPO against Hint-GRPO, from hint ledgers
OUTPUT_DIR/figures/text_bias.{png,svg,csv}             accuracy with and without the picture over checkpoints
OUTPUT_DIR/figures/accuracy_by_scale.{png,svg,csv}     accuracy against calibration scale

What is not measured yet is marked in the table; a figure without data is not drawn, and a line says what it needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.reproduce.cli import Selection
from eval.reproduce.recipes import BASE, MAIN, PLAIN, TableRow
from eval.reproduce.steps import (
    Experiment,
    State,
    Training,
    evaluations_both_ways,
    final_evaluation,
    summary_of,
)
from hint_grpo.evaluation.results import Summary
from hint_grpo.training import ledger
from hint_grpo.training.model_card import utilization_of

HEADER = (
    "row",
    "preset",
    "paper, %",
    "measured, % (paper protocol) [95 %]",
    "strict protocol [95 %]",
    "questions",
    "data utilisation",
)
NONE = "-"
LABELS = {PLAIN: "GRPO", MAIN: "Hint-GRPO"}  # of the runs in the figures


def write_report(selection: Selection, experiments: Sequence[Experiment], output_dir: Path, *, toy: bool) -> None:
    """Prints and saves one table of all presets, then draws the figures of each preset."""
    results = [row_result(row, experiment) for experiment in experiments for row in selection.rows]
    content = "\n".join([table_text(results), "", *_notes(experiments[0], toy=toy)]) + "\n"
    print(f"\n{content}")
    (output_dir / "table.md").write_text(content, encoding="utf-8")
    save_table_csv(results, output_dir / "table.csv")
    print(output_dir / "table.md")
    if selection.both_ways:
        for experiment in experiments:
            print("\n".join(draw_figures(experiment, selection.all_rows, selection.both_ways)))


def _notes(experiment: Experiment, *, toy: bool) -> list[str]:
    """The lines below the table."""
    notes = [
        "preset: whose settings the row was trained with (docs/faithfulness.md).",
        "paper: Qwen2-VL-7B on Geo170K; - if the paper has no number on record. Intervals: Wilson, 95 %.",
        f"measured: {experiment.model_path.name}, {experiment.num_questions} questions of {experiment.prompt_path.name}.",
    ]
    if toy:
        notes.append(
            "The toy world shows that every row runs: each is one short run of a tiny model with one seed. Methods are compared "
            "over several seeds, with intervals, by python -m eval.evidence (docs/evidence.md)."
        )
    return notes


# ----------------------------------------------------------------------------------------------------
# Table


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row with its measurements; None for those that do not exist (yet)."""

    row: TableRow
    preset: str
    training: State
    summary: Summary | None
    utilization: float | None  # data utilisation, a share


def row_result(row: TableRow, experiment: Experiment) -> RowResult:
    """Reads a row's state and measurements; an evaluation counts only if the training is finished."""
    training: State = "finished" if row.run == BASE else Training(experiment, row.run).state()
    evaluation = final_evaluation(row.run, experiment, (row.scale,))
    summary = summary_of(evaluation, row.scale) if training == "finished" else None
    ledger_file = experiment.training_folder(row.run) / ledger.FILE_NAME
    return RowResult(row, experiment.preset, training, summary, utilization(ledger_file))


def utilization(path: Path) -> float | None:
    """Share of a run's prompts whose group was valid (S_valid); None if there is no hint ledger."""
    use = utilization_of(ledger.read(path)) if path.is_file() else None
    return use.valid if use else None


def table_text(results: Sequence[RowResult]) -> str:
    """The table in Markdown, with aligned columns."""
    cells = [HEADER, *map(_cells, results)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join(f"| {row} |" for row in [rows[0], rule, *rows[1:]])


def save_table_csv(results: Sequence[RowResult], path: Path) -> None:
    """The table's numbers unrounded, with the intervals in separate columns."""
    from hint_grpo.figures import write_csv  # imports matplotlib

    write_csv(path, [_record(result) for result in results])


def _cells(result: RowResult) -> tuple[str, ...]:
    row, summary = result.row, result.summary
    return (
        row.label,
        result.preset,
        NONE if row.paper is None else f"{row.paper:.2f}",
        _missing(result) if summary is None else _percent(summary.accuracy_paper, summary.interval_paper),
        NONE if summary is None else _percent(summary.accuracy_strict, summary.interval_strict),
        NONE if summary is None else str(summary.num_questions),
        NONE if result.utilization is None or result.training != "finished" else f"{result.utilization:.3f}",
    )


def _missing(result: RowResult) -> str:
    return "not evaluated" if result.training == "finished" else f"training {result.training}"


def _percent(accuracy: float, interval: Sequence[float]) -> str:
    return f"{100 * accuracy:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def _record(result: RowResult) -> dict[str, object]:
    row, summary = result.row, result.summary
    record = {
        "row": row.name,
        "preset": result.preset,
        "run": row.run,
        "scale": row.scale,
        "paper": row.paper,
        "training": result.training,
        "data_utilization": result.utilization,
        "questions": None if summary is None else summary.num_questions,
    }
    for protocol in ("paper", "strict"):
        low, high = (None, None) if summary is None else getattr(summary, f"interval_{protocol}")
        record |= {
            f"accuracy_{protocol}": None if summary is None else getattr(summary, f"accuracy_{protocol}"),
            f"accuracy_{protocol}_low": low,
            f"accuracy_{protocol}_high": high,
        }
    return record


# ----------------------------------------------------------------------------------------------------
# Figures


def draw_figures(experiment: Experiment, rows: Sequence[TableRow], runs_both_ways: Sequence[str]) -> list[str]:
    """Draws the figures whose data exists; returns a line for the user per figure: its path, or what it needs."""
    from hint_grpo.evaluation.report import PLOT_NAME, draw_scales
    from hint_grpo.training.plots import plot_text_bias, plot_utilization  # imports matplotlib

    folder = experiment.output_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []

    # The paper's first observation: data utilisation over training.
    ledgers = _ledgers(experiment)
    if len(ledgers) == len(LABELS):
        plot_utilization(ledgers, folder / "data_utilization")
    lines.append(_figure_line(folder / "data_utilization.png", len(ledgers) == len(LABELS), f"runs {PLAIN} and {MAIN}"))

    # The second observation: how much accuracy is left without the picture.
    curves = {LABELS.get(run, run): text_bias(run, experiment) for run in runs_both_ways}
    enough = bool(curves) and all(len(points) > 1 for points in curves.values())
    if enough:
        plot_text_bias(curves, folder / "text_bias")
    lines.append(_figure_line(folder / "text_bias.png", enough, "checkpoints evaluated with and without the picture"))

    # The curve over calibration scales.
    drawn = draw_scales(scale_summaries(experiment, rows), folder) is not None
    lines.append(_figure_line(folder / f"{PLOT_NAME}.png", drawn, f"evaluations of {MAIN} at several scales"))
    return lines


def text_bias(run: str, experiment: Experiment) -> list[dict[str, Any]]:
    """A point per checkpoint that is evaluated both ways, starting with step 0 (the model without training)."""
    points = []
    for step, *pair in [*evaluations_both_ways(BASE, experiment), *evaluations_both_ways(run, experiment)]:
        with_image, without = (summary_of(evaluation) for evaluation in pair)
        if with_image is not None and without is not None:
            points.append({"step": step, "questions": with_image.num_questions, **_point(with_image, without)})
    return points


def scale_summaries(experiment: Experiment, rows: Sequence[TableRow]) -> list[Summary]:
    """The main run's results at each scale of the table."""
    scales = sorted({row.scale for row in rows if row.run == MAIN})
    evaluation = final_evaluation(MAIN, experiment, tuple(scales or [0.0]))
    summaries = [summary_of(evaluation, scale) for scale in scales]
    return [summary for summary in summaries if summary is not None]


def _ledgers(experiment: Experiment) -> dict[str, Path]:
    """By label, the hint ledgers of the compared runs that are finished."""
    folders = {
        run: experiment.training_folder(run) for run in LABELS if Training(experiment, run).state() == "finished"
    }
    return {LABELS[run]: folder / ledger.FILE_NAME for run, folder in folders.items()}


def _point(with_image: Summary, without: Summary) -> dict[str, float]:
    """Accuracies and their intervals, as shares: with_paper, with_paper_low, ..., without_strict_high."""
    point: dict[str, float] = {}
    for protocol in ("paper", "strict"):
        for way, summary in (("with", with_image), ("without", without)):
            low, high = getattr(summary, f"interval_{protocol}")
            point |= {f"{way}_{protocol}": getattr(summary, f"accuracy_{protocol}")}
            point |= {f"{way}_{protocol}_low": low, f"{way}_{protocol}_high": high}
    return point


def _figure_line(picture: Path, drawn: bool, needed: str) -> str:
    return f"{picture}" if drawn else f"{picture.name} is not drawn: it needs {needed}"
