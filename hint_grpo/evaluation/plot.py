"""Accuracy against calibration scale: OUTPUT_DIR/accuracy_by_scale.{png,svg,csv}. matplotlib is imported on use."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hint_grpo.evaluation.summary import Summary

NAME = "accuracy_by_scale"
# Both stay visible where they are equal.
STYLES: dict[str, dict[str, Any]] = {
    "paper": {"marker": "o", "markersize": 9, "markerfacecolor": "none"},
    "strict": {"marker": "s", "markersize": 4, "linestyle": "--"},
}
_COLUMNS = ("scale", "questions", "paper", "paper_low", "paper_high", "strict", "strict_low", "strict_high")


def draw_scales(summaries: Sequence[Summary], output: Path) -> Path | None:
    """Draws both protocols with their 95 % intervals and writes the numbers beside the picture; returns the PNG.

    Blind runs are left out; None where fewer than two scales are left, or where answers are judged elsewhere (MM-Vet).
    """
    points = sorted((summary for summary in summaries if not summary.no_image), key=lambda summary: summary.scale)
    if len(points) < 2 or not all(point.judged for point in points):
        return None
    _write_csv(points, output / f"{NAME}.csv")
    import matplotlib as mpl

    mpl.use("Agg")  # no display is needed
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for protocol, style in STYLES.items():
        accuracies = [100 * getattr(point, f"accuracy_{protocol}") for point in points]
        intervals = [getattr(point, f"interval_{protocol}") for point in points]
        below = [value - 100 * low for value, (low, _) in zip(accuracies, intervals, strict=True)]
        above = [100 * high - value for value, (_, high) in zip(accuracies, intervals, strict=True)]
        # Rounding may put a bound a hair on the wrong side of an accuracy of 0 or 1; matplotlib refuses that.
        errors = [[max(0.0, value) for value in side] for side in (below, above)]
        scales = [point.scale for point in points]
        axes.errorbar(scales, accuracies, yerr=errors, capsize=3, **style, label=f"{protocol} protocol")
    axes.set(
        xlabel="calibration scale", ylabel="accuracy (%)", title=f"{points[0].num_questions} questions, 95 % intervals"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    for suffix in ("png", "svg"):
        figure.savefig(output / f"{NAME}.{suffix}", dpi=150)
    plt.close(figure)
    return output / f"{NAME}.png"


def _write_csv(points: Sequence[Summary], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for point in points:
            numbers = (point.accuracy_paper, *point.interval_paper, point.accuracy_strict, *point.interval_strict)
            writer.writerow([point.scale, point.num_questions, *(f"{number:.6f}" for number in numbers)])
