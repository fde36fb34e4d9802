"""The ablation table: the paper's number beside the measured ones, as text (Markdown) and as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from eval.reproduce.plan import final_evaluation
from eval.reproduce.recipes import BASE, Row
from eval.reproduce.steps import Experiment, State, Training, summary_of
from hint_grpo.evaluation.summary import Summary
from hint_grpo.training import ledger

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


@dataclass(frozen=True, slots=True)
class Line:
    """A row and what was measured for it: None where that is not there (yet)."""

    row: Row
    preset: str
    training: State
    summary: Summary | None
    utilization: float | None


def measured(row: Row, experiment: Experiment) -> Line:
    training: State = "finished" if row.run == BASE else Training(experiment, row.run).state()
    evaluation = final_evaluation(row.run, experiment, (row.scale,))
    summary = summary_of(evaluation, row.scale) if training == "finished" else None
    return Line(
        row, experiment.preset, training, summary, utilization(experiment.training_folder(row.run) / ledger.FILE_NAME)
    )


def utilization(path: Path) -> float | None:
    """Share of the prompts of a run that it could learn from; None for a run without a hint ledger."""
    return mean(record["valid"] for record in ledger.read(path)) if path.is_file() else None


def text(lines: Sequence[Line]) -> str:
    cells = [HEADER, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join(f"| {row} |" for row in [rows[0], rule, *rows[1:]])


def save_csv(lines: Sequence[Line], path: Path) -> None:
    from hint_grpo.training.plots import write_csv  # imports matplotlib

    write_csv(path, [_record(line) for line in lines])


def _cells(line: Line) -> tuple[str, ...]:
    row, summary = line.row, line.summary
    return (
        row.label,
        line.preset,
        NONE if row.paper is None else f"{row.paper:.2f}",
        _missing(line) if summary is None else _percent(summary.accuracy_paper, summary.interval_paper),
        NONE if summary is None else _percent(summary.accuracy_strict, summary.interval_strict),
        NONE if summary is None else str(summary.num_questions),
        NONE if line.utilization is None or line.training != "finished" else f"{line.utilization:.3f}",
    )


def _missing(line: Line) -> str:
    return "not evaluated" if line.training == "finished" else f"training {line.training}"


def _percent(accuracy: float, interval: Sequence[float]) -> str:
    return f"{100 * accuracy:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def _record(line: Line) -> dict[str, object]:
    row, summary = line.row, line.summary
    known = {
        "row": row.name,
        "preset": line.preset,
        "run": row.run,
        "scale": row.scale,
        "paper": row.paper,
        "training": line.training,
        "data_utilization": line.utilization,
        "questions": None if summary is None else summary.num_questions,
    }
    for protocol in ("paper", "strict"):
        low, high = (None, None) if summary is None else getattr(summary, f"interval_{protocol}")
        known |= {
            f"accuracy_{protocol}": None if summary is None else getattr(summary, f"accuracy_{protocol}"),
            f"accuracy_{protocol}_low": low,
            f"accuracy_{protocol}_high": high,
        }
    return known
