"""Plots of runs from hint ledgers and evaluation summaries: PNG and SVG, with their numbers as CSV beside them.

Imports matplotlib; import this module only when something is plotted."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from hint_grpo.figures import legend_above, save_figure, write_csv
from hint_grpo.training import ledger
from hint_grpo.training.smoothing import caption, running_mean, window_of


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


def plot_utilization(runs: Mapping[str, Path], stem: Path) -> None:
    """Data utilisation (the paper's first observation), hint level and failed prompts over steps, one line per run.

    `runs` maps a label to a hint ledger with at least one record. Writes STEM.png, STEM.svg and STEM.csv. A run whose
    utilisation differs from that of level 0 alone gets a second, dotted line. Strong lines are running means, the pale ones
    below them single steps.
    """
    records = {label: list(ledger.read(path)) for label, path in runs.items()}
    by_label = {label: per_step(each) for label, each in records.items()}
    window = window_of(map(len, by_label.values()))
    figure, (upper, middle, lower) = plt.subplots(3, 1, figsize=(7, 7.5), sharex=True, height_ratios=(2, 1, 1))
    for number, (label, run) in enumerate(by_label.items()):
        colour = f"C{number}"
        _draw(upper, run, "data_utilization", window, color=colour, label=label)
        if any(row["data_utilization_level0"] != row["data_utilization"] for row in run):
            level0 = f"{label}: level 0 alone"
            _draw(upper, run, "data_utilization_level0", window, color=colour, linestyle=":", label=level0)
        _draw(middle, run, "mean_level", window, color=colour)
        _draw(lower, run, "never_correct", window, color=colour)
    upper.set(ylabel="data utilisation", ylim=(-0.02, 1.05))
    middle.set_ylabel("mean hint level")
    middle.set_ylim(bottom=-0.05)
    # A prompt that fails at every level is trained on at level 0. Only this panel shows it apart from one that needs no hint.
    lower.set(xlabel="training step", ylabel="share of prompts\nnever correct", ylim=(-0.02, 1.05))
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, middle, lower):
        axes.grid(alpha=0.3)
    legend_above(upper, num_columns=3)
    prompts = (max(Counter(record["step"] for record in each).values()) for each in records.values())
    figure.text(0.5, 0.03, caption(window, prompts), ha="center", fontsize=8, color="dimgray")
    save_figure(figure, stem)
    write_csv(stem.with_suffix(".csv"), [{"run": label, **row} for label, run in by_label.items() for row in run])


def _draw(axes: Any, rows: Sequence[Mapping[str, float]], key: str, window: int, **style: Any) -> None:
    """A metric's running mean, over its values at single steps in the same colour, but pale."""
    steps, values = [row["step"] for row in rows], [row[key] for row in rows]
    if window > 1:
        axes.plot(steps, values, color=style["color"], alpha=0.25, linewidth=0.8, zorder=1.5)  # below every mean
    axes.plot(steps, running_mean(values, window), **style)


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
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.95), ncols=2, fontsize=8, frameon=False)
    save_figure(figure, stem)
    write_csv(stem.with_suffix(".csv"), [{"run": label, **point} for label, points in runs.items() for point in points])
