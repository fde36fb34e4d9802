"""`python -m eval.evidence`: the experiments of docs/evidence.md, from base models to tables and figures."""

import argparse
import time
from pathlib import Path

from eval.evidence import protocol
from eval.evidence.protocol import EXPERIMENTS, Seeds
from eval.runs import ROOT
from hint_grpo.machine.errors import UserError, run_main


def parse() -> argparse.Namespace:
    default = Seeds()
    parser = argparse.ArgumentParser(prog="python -m eval.evidence", description=__doc__)
    parser.add_argument(
        "--experiments",
        nargs="+",
        choices=EXPERIMENTS,
        default=list(EXPERIMENTS),
        metavar="LETTER",
        help="; ".join(f"{letter}: {title}" for letter, title in EXPERIMENTS.items()) + " (default: all)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(default.training), help="of the trainings (default: 1 to 5)"
    )
    parser.add_argument(
        "--warmup_seeds",
        type=int,
        nargs="+",
        metavar="SEED",
        default=list(default.warmup),
        help="of the base models (1 2)",
    )
    parser.add_argument("--stream", default="evidence", help="name of the tasks' random stream (default: evidence)")
    parser.add_argument(
        "--output_dir", type=Path, default=ROOT / "output" / "evidence", help="what is finished there is kept"
    )
    arguments = parser.parse_args()
    for flag in ("seeds", "warmup_seeds"):
        values = getattr(arguments, flag)
        if len(set(values)) < len(values):
            raise UserError(f"--{flag} {' '.join(map(str, values))}: give each seed once")
    return arguments


def main() -> None:
    arguments = parse()
    # Slow to import, so only after the flags are checked.
    from eval.evidence.figures import draw
    from eval.evidence.jobs import Study, run_all
    from eval.evidence.report import write_report
    from eval.evidence.results import Results

    start = time.time()
    study = Study(arguments.output_dir.resolve(), arguments.stream)
    seeds = Seeds(tuple(arguments.seeds), tuple(arguments.warmup_seeds))
    experiments = {letter: protocol.experiment(letter, seeds) for letter in sorted(set(arguments.experiments))}
    for letter, one in experiments.items():
        print(
            f"{letter}. {EXPERIMENTS[letter]}: {len(one.runs)} trainings, {len(one.evaluations)} evaluations",
            flush=True,
        )
        run_all(study, one, lambda line: print(line, flush=True))
    results = Results(study)
    write_report(results, experiments)
    draw(results, experiments, study.root / "figures")
    print(f"{time.time() - start:.0f} s in all")


if __name__ == "__main__":
    run_main(main)
