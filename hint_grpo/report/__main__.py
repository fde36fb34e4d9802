"""`python -m hint_grpo.report RUN [RUN ...]`: writes RUN/report.html, and a comparison page if there are several runs."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from hint_grpo.machine.errors import run_main
from hint_grpo.machine.files import replace_file
from hint_grpo.report.data import Run, distinct_names, read_run
from hint_grpo.report.page import comparison_page, run_page

REPORT_NAME, COMPARISON_NAME = "report.html", "comparison.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the pages and prints their paths; UserError if a folder is not a run."""
    options = _parser().parse_args(arguments)
    # All folders are read before anything is written, so that a mistake in the last one leaves nothing behind.
    runs = [read_run(folder) for folder in options.runs]
    for run in runs:
        _write(run.folder / REPORT_NAME, run_page(run))
    if len(runs) > 1:
        path = runs[0].folder / COMPARISON_NAME
        named = dict(zip(distinct_names([run.folder for run in runs]), runs, strict=True))
        _write(path, comparison_page(named, {name: _link(path, run) for name, run in named.items()}))
    return 0


def _write(path: Path, text: str) -> None:
    replace_file(path, text)
    print(path, flush=True)


def _link(page: Path, run: Run) -> str:
    """The relative address of a run's report, seen from `page`: both can be moved together."""
    return Path(os.path.relpath((run.folder / REPORT_NAME).resolve(), page.resolve().parent)).as_posix()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hint_grpo.report",
        description=f"Writes RUN/{REPORT_NAME}, a page that opens without a network: curves, and every stored question with its "
        f"picture, hints and completions. Several runs: also FIRST_RUN/{COMPARISON_NAME} with their curves in one plot.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="an output folder of train_model.py")
    return parser


if __name__ == "__main__":
    run_main(main)
