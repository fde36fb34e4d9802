"""Plots of runs from hint ledgers and evaluation summaries: PNG and SVG, with their numbers as CSV beside them.

Imports matplotlib; import this module only when something is plotted."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from hint_grpo.training import ledger

matplotlib.use("Agg")  # cluster nodes have no display


def per_step(records: Iterable[ledger.Record]) -> list[dict[str, float]]:
    """One row per step: data utilisation, that of level 0 alone, mean level, share of prompts never correct."""
    by_step: dict[int, list[ledger.Record]] = defaultdict(list)
    for record in records:
        by_step[record["step"]].append(record)
    return [
        {
            "step": step,
            "data_utilization": values["hint/data_utilization"],
            "data_utilization_level0": values["hint/data_utilization_level0"],
            "mean_level": values["hint/mean_level"],
            "never_correct": values["hint/never_correct"],
        }
        for step, group in sorted(by_step.items())
        for values in [ledger.metrics(group, 1)]
    ]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """For each value the mean of the last `window` values up to it: single steps are noisy, because they have few prompts."""
    return [
        sum(values[max(0, i + 1 - window) : i + 1]) / len(values[max(0, i + 1 - window) : i + 1])
        for i in range(len(values))
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes at least one row; the first row's keys are the columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def save_figure(figure: Any, stem: Path) -> None:
    """Saves `figure` as STEM.png and STEM.svg, and closes it."""
    for ending in (".png", ".svg"):
        figure.savefig(stem.with_suffix(ending), dpi=150, bbox_inches="tight")
    plt.close(figure)


def plot_utilization(runs: Mapping[str, Path], stem: Path) -> None:
    """Data utilisation (the paper's first observation), hint level and failed prompts over steps, one line per run.

    `runs` maps a label to a hint ledger with at least one record. Writes STEM.png, STEM.svg and STEM.csv. A run whose
    utilisation differs from that of level 0 alone gets a second, dotted line.
    """
    # Running means over a tenth of the longest run.
    by_label = {label: per_step(ledger.read(path)) for label, path in runs.items()}
    window = max(1, max(map(len, by_label.values())) // 10)
    figure, (upper, middle, lower) = plt.subplots(3, 1, figsize=(7, 7.5), sharex=True, height_ratios=(2, 1, 1))
    for label, run in by_label.items():
        steps = [row["step"] for row in run]
        smooth = {key: running_mean([row[key] for row in run], window) for key in run[0] if key != "step"}
        (line,) = upper.plot(steps, smooth["data_utilization"], label=label)
        if smooth["data_utilization_level0"] != smooth["data_utilization"]:
            upper.plot(
                steps, smooth["data_utilization_level0"], ":", color=line.get_color(), label=f"{label}: level 0 alone"
            )
        middle.plot(steps, smooth["mean_level"], color=line.get_color(), label=label)
        lower.plot(steps, smooth["never_correct"], color=line.get_color(), label=label)
    averaged = f"\n(mean of the last {window} steps)" if window > 1 else ""
    upper.set(ylabel=f"data utilisation{averaged}", ylim=(-0.02, 1.05))
    middle.set_ylabel("mean hint level")
    middle.set_ylim(bottom=-0.05)
    # A prompt that fails at every level is trained on at level 0. Only this panel shows it apart from one that needs no hint.
    lower.set(xlabel="training step", ylabel="share of prompts\nnever correct", ylim=(-0.02, 1.05))
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, middle, lower):
        axes.grid(alpha=0.3)
    # The legend is above the axes, because the lines may be anywhere inside.
    upper.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    save_figure(figure, stem)
    write_csv(stem.with_suffix(".csv"), [{"run": label, **row} for label, run in by_label.items() for row in run])


def plot_text_bias(runs: Mapping[str, Sequence[Mapping[str, float]]], stem: Path) -> None:
    """Accuracy with and without the picture over training steps (the paper's second observation), one panel per run.

    `runs` maps a label to its points. A point has "step" and "questions", and for each WAY (with, without) and each PROTOCOL
    (paper, strict) the keys WAY_PROTOCOL, WAY_PROTOCOL_low and WAY_PROTOCOL_high: accuracy and its interval, in [0, 1]. The
    figure shows the paper's protocol, the CSV both.
    """
    width = 1.5 + 4 * len(runs)
    figure, (panels,) = plt.subplots(1, len(runs), figsize=(width, 3.8), sharey=True, squeeze=False)
    for axes, (label, points) in zip(panels, runs.items(), strict=True):
        steps = [point["step"] for point in points]
        for way, marker in (("with", "o"), ("without", "s")):
            values, low, high = (
                [100 * point[f"{way}_paper{suffix}"] for point in points] for suffix in ("", "_low", "_high")
            )
            (line,) = axes.plot(steps, values, marker=marker, label=f"{way} the picture")
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(xlabel="training step", title=f"{label}, {points[0]['questions']} questions")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy (%), 95 % intervals")
    panels[0].legend(loc="best", fontsize=8)
    save_figure(figure, stem)
    write_csv(stem.with_suffix(".csv"), [{"run": label, **point} for label, points in runs.items() for point in points])
