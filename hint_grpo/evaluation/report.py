"""The report of a finished run: disagreements between the protocols, the table, the accuracy as the last line; and the plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hint_grpo.evaluation.datasets.registry import ADAPTERS
from hint_grpo.evaluation.judging import COMPLETIONS_FILE
from hint_grpo.evaluation.results import RESULTS_FILE, Result, Summary, read_results
from hint_grpo.scoring import stats

DISAGREEMENTS_SHOWN = 5
TEXT_SHOWN = 60

_HEADER = ("run", "questions", "paper [95 %]", "strict [95 %]", "tokens/s", "token limit", "no <answer>", "disagree")

PLOT_NAME = "accuracy_by_scale"
# Chosen so that both stay visible if they are equal.
STYLES: dict[str, dict[str, Any]] = {
    "paper": {"marker": "o", "markersize": 9, "markerfacecolor": "none"},
    "strict": {"marker": "s", "markersize": 4, "linestyle": "--"},
}
_CSV_COLUMNS = ("scale", "questions", "paper", "paper_low", "paper_high", "strict", "strict_low", "strict_high")


# ----------------------------------------------------------------------------------------------------
# What is printed


def print_report(output: Path, summaries: Sequence[Summary], page: Path | None = None) -> None:
    """Prints the report to stdout. The last line is the accuracy alone, where scripts look for it.

    If the answers are judged by another evaluator, the last line names the file for it instead. `page`: report.html, if it was
    written.
    """
    for summary in summaries:
        text = disagreements(summary, read_results(output / summary.name / RESULTS_FILE))
        if text:
            print(text)
    for summary in summaries:
        if text := breakdown(summary):
            print(text)
    print(table(summaries))
    if notes := dataset_notes(summaries):
        print(notes)
    if trouble := scoring_trouble(stats()):
        print(trouble)
    print(f"results: {output}" + (f"; to look at them, open {page}" if page else ""))
    if len(summaries) > 1 and summaries[-1].judged:
        print(f"the accuracy below is that of {summaries[-1].name}, the last of the scales given")
    print(last_line(output, summaries), flush=True)


def table(summaries: Sequence[Summary]) -> str:
    """One row per scale, columns aligned. `paper` and `strict` are accuracies in % with their Wilson intervals."""
    rows = [_HEADER, *map(_row, summaries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def disagreements(summary: Summary, results: Mapping[str, Result]) -> str:
    """The questions that only one protocol accepts, up to DISAGREEMENTS_SHOWN of each kind; all ids are in summary.json."""
    lines = []
    for ids, kind in ((summary.paper_only, "only paper accepts"), (summary.strict_only, "only strict accepts")):
        if not ids:
            continue
        lines.append(f"{summary.name}: {kind} {len(ids)}")
        lines += [f"  {_disagreement(results[id])}" for id in ids[:DISAGREEMENTS_SHOWN]]
        if len(ids) > DISAGREEMENTS_SHOWN:
            lines.append(f"  ... and {len(ids) - DISAGREEMENTS_SHOWN} more: see summary.json")
    return "\n".join(lines)


def breakdown(summary: Summary) -> str:
    """A line per heading of the questions, such as MathVerse's problem versions; "" if there are none."""
    if not (summary.breakdown and summary.judged):
        return ""
    width = max(map(len, summary.breakdown))
    lines = [
        f"  {name.ljust(width)}  {_share(subset.num_correct_paper, subset.num_questions)} paper  "
        f"{_share(subset.num_correct_strict, subset.num_questions)} strict  of {subset.num_questions}"
        for name, subset in summary.breakdown.items()
    ]
    return "\n".join([f"{summary.name}, by heading:", *lines])


def dataset_notes(summaries: Sequence[Summary]) -> str:
    """The notes of the data sets in the report, one a line: what a reader of the numbers has to know."""
    names = dict.fromkeys(summary.made_with.get("benchmark") for summary in summaries)
    return "\n".join(ADAPTERS[name].note for name in names if name in ADAPTERS and ADAPTERS[name].note)


def last_line(output: Path, summaries: Sequence[Summary]) -> str:
    """The accuracy, or the file for the official evaluator."""
    if summaries[-1].judged:
        return accuracy_line(summaries)
    return f"For the official evaluator: {output / summaries[-1].name / COMPLETIONS_FILE}"


def scoring_trouble(counts: Mapping[str, int]) -> str | None:
    """A line about comparisons that exceeded the checker's time or memory and count as wrong; None if there are none."""
    kinds = [f"{counts[kind]} {kind}" for kind in ("timeouts", "crashes", "oversized") if counts.get(kind)]
    return f"comparisons without a verdict, counted as wrong: {', '.join(kinds)}" if kinds else None


def accuracy_line(summaries: Sequence[Summary]) -> str:
    """`Accuracy: 46.68%`, by the paper's protocol; with several scales, that of the last one given.

    The last and not the best: choosing the best of several scales on the test questions would overstate the method.
    """
    return f"Accuracy: {summaries[-1].accuracy_paper:.2%}"


def _row(summary: Summary) -> tuple[str, ...]:
    speed = summary.tokens_per_second
    return (
        summary.name,
        str(summary.num_questions) + (f" (+{summary.num_skipped} skipped)" if summary.num_skipped else ""),
        _percent(summary.accuracy_paper, summary.interval_paper) if summary.judged else "-",
        _percent(summary.accuracy_strict, summary.interval_strict) if summary.judged else "-",
        "-" if speed is None else f"{speed:.1f}",
        str(summary.num_token_limit),
        str(summary.num_missing_answer),
        str(len(summary.paper_only) + len(summary.strict_only)) if summary.judged else "-",
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:6.2f}"


def _percent(accuracy: float, interval: tuple[float, float]) -> str:
    return f"{100 * accuracy:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def _disagreement(result: Result) -> str:
    answer = "no <answer>" if result.answer is None else f"<answer> {_short(result.answer)!r}"
    return (
        f"id {result.id}: gold {_short(result.ground_truth)!r}, {answer}, ends {_short(result.completion, end=True)!r}"
    )


def _short(text: str, *, end: bool = False) -> str:
    text = " ".join(text.split())
    if len(text) <= TEXT_SHOWN:
        return text
    return "..." + text[-TEXT_SHOWN:] if end else text[:TEXT_SHOWN] + "..."


# ----------------------------------------------------------------------------------------------------
# Accuracy against calibration scale: OUTPUT_DIR/accuracy_by_scale.{png,svg,csv}. matplotlib is imported on use.


def draw_scales(summaries: Sequence[Summary], output: Path) -> Path | None:
    """Draws both protocols with their 95 % intervals, in %, as PNG and SVG, and writes the numbers as CSV; returns the PNG.

    Blind runs are left out. None if fewer than two scales are left, or if answers are judged elsewhere (MM-Vet).
    """
    points = sorted((summary for summary in summaries if not summary.no_image), key=lambda summary: summary.scale)
    if len(points) < 2 or not all(point.judged for point in points):
        return None
    from matplotlib import pyplot as plt

    from hint_grpo.figures import legend_above, save_figure, write_csv

    write_csv(output / f"{PLOT_NAME}.csv", list(map(_csv_row, points)))
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for protocol, style in STYLES.items():
        accuracies = [100 * getattr(point, f"accuracy_{protocol}") for point in points]
        intervals = [getattr(point, f"interval_{protocol}") for point in points]
        below = [value - 100 * low for value, (low, _) in zip(accuracies, intervals, strict=True)]
        above = [100 * high - value for value, (_, high) in zip(accuracies, intervals, strict=True)]
        # Rounding may put a bound slightly on the wrong side of an accuracy of 0 or 1, which matplotlib refuses.
        errors = [[max(0.0, value) for value in side] for side in (below, above)]
        scales = [point.scale for point in points]
        axes.errorbar(scales, accuracies, yerr=errors, capsize=3, **style, label=f"{protocol} protocol")
    axes.set(xlabel=f"calibration scale ({points[0].num_questions} questions, 95 % intervals)", ylabel="accuracy (%)")
    axes.grid(alpha=0.3)
    legend_above(axes, num_columns=2)
    save_figure(figure, output / PLOT_NAME)
    return output / f"{PLOT_NAME}.png"


def _csv_row(point: Summary) -> dict[str, Any]:
    numbers = (point.accuracy_paper, *point.interval_paper, point.accuracy_strict, *point.interval_strict)
    values = (point.scale, point.num_questions, *(f"{number:.6f}" for number in numbers))
    return dict(zip(_CSV_COLUMNS, values, strict=True))
