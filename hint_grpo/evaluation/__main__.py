"""`python -m hint_grpo.evaluation compare RUN_A RUN_B`: do two runs differ by more than chance?"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hint_grpo.evaluation.compare import REPORTED_PROTOCOLS, compare, comparison_text, results_of
from hint_grpo.machine.errors import run_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison and the ids that differ, under both protocols; UserError if the runs cannot be compared."""
    options = _parser().parse_args(arguments)
    results_a, results_b = results_of(options.run_a), results_of(options.run_b)
    unpaired = len(results_a.keys() ^ results_b.keys())
    if unpaired:
        print(f"{unpaired} questions were answered in one run only: left out")
    for protocol in REPORTED_PROTOCOLS:
        print(comparison_text(str(options.run_a), str(options.run_b), compare(results_a, results_b, protocol)))
    folders = (run.parent if run.is_file() else run for run in (options.run_a, options.run_b))
    print(f"to see these answers side by side: python -m hint_grpo.report {' '.join(map(str, folders))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.evaluation", description="Tools for finished runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("compare", help="paired test (McNemar, exact) between two runs on the same questions")
    command.add_argument("run_a", type=Path, help="a folder with results.jsonl, such as OUTPUT_DIR/scale-0.0")
    command.add_argument("run_b", type=Path, help="the folder to compare it with, such as OUTPUT_DIR/scale-0.8")
    return parser


if __name__ == "__main__":
    run_main(main)
