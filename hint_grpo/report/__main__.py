"""`python -m hint_grpo.report FOLDER [FOLDER ...]`: writes FOLDER/report.html, the page of a training run or an evaluation."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.machine.report_process import REPORT_NAME
from hint_grpo.report.data import Run, distinct_names, read_run
from hint_grpo.report.evaluation import evaluation_page, read_evaluations, scale_folders
from hint_grpo.report.page import comparison_page, run_page
from hint_grpo.report.page_files import PageFiles, write_file
from hint_grpo.training import ledger

COMPARISON_NAME = "comparison.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the pages and prints their paths; UserError if a folder is neither a run nor an evaluation."""
    folders = _parser().parse_args(arguments).folders
    evaluated = [folder for folder in folders if not (folder / ledger.FILE_NAME).exists() and scale_folders(folder)]
    if not evaluated:
        _report_runs(folders)
    elif len(evaluated) == len(folders):
        _report_evaluations(folders)
    else:
        raise UserError(f"{evaluated[0]} is an evaluation and others are not: give either training runs or evaluations")
    return 0


def _report_runs(folders: Sequence[Path]) -> None:
    # All folders are read before anything is written, so that a mistake in the last one leaves nothing behind.
    runs = [read_run(folder) for folder in folders]
    for run in runs:
        files = PageFiles(run.folder)
        print(files.write_page(REPORT_NAME, run_page(run, files)), flush=True)
    if len(runs) > 1:
        path = runs[0].folder / COMPARISON_NAME
        named = dict(zip(distinct_names([run.folder for run in runs]), runs, strict=True))
        write_file(path, comparison_page(named, {name: _link(path, run) for name, run in named.items()}))
        print(path, flush=True)


def _report_evaluations(folders: Sequence[Path]) -> None:
    """One page for all of them, in the first folder: the answers are read side by side."""
    title = ", ".join(distinct_names(folders))
    files = PageFiles(folders[0])
    print(files.write_page(REPORT_NAME, evaluation_page(read_evaluations(folders), title, files)), flush=True)


def _link(page: Path, run: Run) -> str:
    """The relative address of a run's report, seen from `page`: both can be moved together."""
    return Path(os.path.relpath((run.folder / REPORT_NAME).resolve(), page.resolve().parent)).as_posix()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hint_grpo.report",
        description=f"Writes FOLDER/{REPORT_NAME}, a page that opens without a network. Of a training run: curves, and every "
        "stored question with its picture, hints and completions; with several runs also "
        f"FIRST_FOLDER/{COMPARISON_NAME}, their curves in one plot. Of evaluations: accuracies, paired tests, and answers side "
        "by side, all in the first folder's page.",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="an output folder of train_model.py or of test_model.py, or a scale-* folder of test_model.py",
    )
    return parser


if __name__ == "__main__":
    run_main(main)
