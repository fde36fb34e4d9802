"""The figures of the experiments: PNG and SVG, with their numbers as CSV beside them. Imports matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from eval.evidence.protocol import CUES, HINTS, LABELS, PLAIN, Experiment
from eval.evidence.report import MEASURES, base_rates, model_label
from eval.evidence.results import Results, paired
from eval.evidence.statistics import interval
from hint_grpo.figures import save_figure, write_csv
from hint_grpo.toy.tasks import VALIDITY

COLOURS = {HINTS: "#1f6fb4", PLAIN: "#b4531f"}
SMALLEST_RATE = 5e-4  # where a base rate of 0 is drawn on the logarithmic axis


def draw(results: Results, experiments: Mapping[str, Experiment], folder: Path) -> None:
    """Draws the figure of every experiment that has one."""
    folder.mkdir(parents=True, exist_ok=True)
    for letter, sets in (("a", ("long",)), ("b", ("short", "long"))):
        if letter in experiments:
            draw_two_methods(results, experiments[letter], sets, folder / f"{letter}_two_methods")
    if "c" in experiments:
        draw_base_rates(results, experiments["c"], folder / "c_base_rates")
    if "e" in experiments:
        draw_scales(results, experiments["e"], folder / "e_scales")


def draw_two_methods(results: Results, one: Experiment, sets: Sequence[str], stem: Path) -> None:
    """Every run as a dot, pairs joined by a line: the same base model and seed with and without hints."""
    panels: list[tuple[str, Any]] = [("data utilisation", results.utilization)]
    for name in sets:
        suffix = f",\n{name} chains" if len(sets) > 1 else ""
        panels += [(f"{label}{suffix}", results.after(name, measure)) for measure, label in MEASURES.items()]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.1 * len(panels), 3.2), sharey=True)
    rows = []
    for axis, (label, metric) in zip(axes, panels, strict=True):
        pair = paired(one.runs, metric, PLAIN, HINTS)
        for plain, hints in zip(pair.first, pair.second, strict=True):
            axis.plot([0, 1], [plain, hints], color="0.75", linewidth=0.8, zorder=1)
            rows.append({"metric": label.replace("\n", " "), PLAIN: plain, HINTS: hints})
        for place, (method, values) in enumerate(((PLAIN, pair.first), (HINTS, pair.second))):
            axis.scatter([place] * len(values), values, s=16, color=COLOURS[method], zorder=2)
        axis.set_xticks([0, 1], ["plain\nGRPO", "Hint-\nGRPO"])
        axis.set_xlim(-0.4, 1.4)
        axis.set_title(label.replace(", ", ",\n"), fontsize=8)
    axes[0].set_ylim(-0.03, 1.03)
    save(figure, rows, stem)


def draw_base_rates(results: Results, one: Experiment, stem: Path) -> None:
    """What both methods end at, over what the base model solves."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharex=True, sharey=True)
    rows: list[dict[str, Any]] = []
    rates = base_rates(results, one)
    for axis, measure in zip(axes, ("level_0", "greedy_evaluation"), strict=True):
        for method, place in ((HINTS, 0), (PLAIN, 1)):
            points = []
            for rate in rates:
                pair = paired(rate.runs, results.after("long", measure), HINTS, PLAIN)
                ends = interval((pair.first, pair.second)[place])
                points.append((max(rate.rate, SMALLEST_RATE), ends))
                row = {"measure": measure, "method": method, "base_rate": rate.rate}
                rows.append({**row, "mean": ends.mean, "low": ends.low, "high": ends.high})
            x = [point for point, _ in points]
            axis.plot(
                x, [ends.mean for _, ends in points], "o-", color=COLOURS[method], label=LABELS[method], markersize=4
            )
            low, high = ([getattr(ends, end) for _, ends in points] for end in ("low", "high"))
            axis.fill_between(x, low, high, color=COLOURS[method], alpha=0.15, linewidth=0)
        axis.set_xscale("log")
        axis.set_ylim(-0.03, 1.03)
        axis.set_title(MEASURES[measure], fontsize=9)
        axis.set_xlabel(f"right before training, sampled ({SMALLEST_RATE:g}: none)", fontsize=8)
    axes[0].set_ylabel("right after training", fontsize=8)
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    save(figure, rows, stem)


def draw_scales(results: Results, one: Experiment, stem: Path) -> None:
    """Accuracy over the calibration scale, one panel per validity of the cue."""
    figure, axes = plt.subplots(1, len(CUES), figsize=(3.4 * len(CUES), 3.2), sharey=True)
    rows = []
    for axis, cue in zip(axes, CUES, strict=True):
        for evaluation in one.evaluations:
            if evaluation.cue == cue:
                values = [results.accuracy(evaluation, scale) for scale in results.study.scales]
                label = model_label(evaluation.model)
                axis.plot(
                    results.study.scales, [share for share, _ in values], "o-", markersize=3, linewidth=1.2, label=label
                )
                rows += [
                    {"model": label, "cue": cue, "scale": scale, "accuracy": share, "low": ends[0], "high": ends[1]}
                    for scale, (share, ends) in zip(results.study.scales, values, strict=True)
                ]
        axis.set_title(f"{cue}\n(agrees with {100 * VALIDITY[cue]:.0f} % of the discs)", fontsize=9)
        axis.set_xlabel("calibration scale", fontsize=8)
    axes[0].set_ylabel("accuracy", fontsize=8)
    handles, labels = axes[-1].get_legend_handles_labels()  # the panel with the most models: also those after training
    figure.legend(handles, labels, frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
    save(figure, rows, stem)


def save(figure: Any, rows: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Saves the figure, without the frames' upper and right lines, and its numbers."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    write_csv(stem.with_suffix(".csv"), rows)
    save_figure(figure, stem)
