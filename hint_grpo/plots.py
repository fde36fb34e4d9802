"""Plots of a run, from its hint ledger alone: PNG and SVG, with the numbers beside them as CSV."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen on a cluster node
import matplotlib.pyplot as plt

from hint_grpo import ledger


def per_step(records: Iterable[ledger.Record]) -> list[dict[str, float]]:
    """One row a step: data utilisation, what level 0 alone would have given, mean level."""
    by_step: dict[int, list[ledger.Record]] = defaultdict(list)
    for record in records:
        by_step[record["step"]].append(record)
    return [
        {
            "step": step,
            "data_utilization": values["hint/data_utilization"],
            "data_utilization_level0": values["hint/data_utilization_level0"],
            "mean_level": values["hint/mean_level"],
        }
        for step, group in sorted(by_step.items())
        for values in [ledger.metrics(group, 1)]
    ]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last `window` values at each place: a step holds few prompts, so single steps are noise."""
    return [
        sum(values[max(0, i + 1 - window) : i + 1]) / len(values[max(0, i + 1 - window) : i + 1])
        for i in range(len(values))
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def save_figure(figure: Any, stem: Path) -> None:
    for ending in (".png", ".svg"):
        figure.savefig(stem.with_suffix(ending), dpi=150, bbox_inches="tight")
    plt.close(figure)


def plot_utilization(runs: Mapping[str, Path], stem: Path) -> None:
    """Data utilisation and mean hint level over steps (the paper's first observation), a line a run.

    `runs` maps a label to a hint ledger. A run whose level 0 alone would have done worse gets a second, dotted line.
    """
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=(2, 1))
    rows: list[dict[str, Any]] = []
    for label, path in runs.items():
        run = per_step(ledger.read(path))
        rows.extend({"run": label, **row} for row in run)
        steps, window = [row["step"] for row in run], max(1, len(run) // 10)
        smooth = {key: running_mean([row[key] for row in run], window) for key in run[0] if key != "step"}
        (line,) = upper.plot(steps, smooth["data_utilization"], label=label)
        if smooth["data_utilization_level0"] != smooth["data_utilization"]:
            upper.plot(
                steps, smooth["data_utilization_level0"], ":", color=line.get_color(), label=f"{label}: level 0 alone"
            )
        lower.plot(steps, smooth["mean_level"], color=line.get_color(), label=label)
    upper.set(ylabel="data utilisation", ylim=(-0.02, 1.02))
    lower.set(xlabel="step", ylabel="mean hint level")
    lower.set_ylim(bottom=-0.05)
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    upper.legend(loc="best", fontsize=8)
    save_figure(figure, stem)
    write_csv(stem.with_suffix(".csv"), rows)
