"""What all figures share: the legend above the data, PNG and SVG files, their numbers as CSV beside them.

Imports matplotlib; import this module only when something is plotted."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")  # cluster nodes have no display


def legend_above(axes: Any, *, num_columns: int) -> None:
    """The legend above the axes, because data may be anywhere inside."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=num_columns, fontsize=8, frameon=False)


def save_figure(figure: Any, stem: Path) -> None:
    """Saves `figure` as STEM.png and STEM.svg, and closes it."""
    for ending in (".png", ".svg"):
        figure.savefig(stem.with_suffix(ending), dpi=150, bbox_inches="tight")
    plt.close(figure)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes at least one row; the first row's keys are the columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
