"""Completions scored per second and core: prose, LaTeX and hostile input, with both protocols.

    python benchmarks/scoring.py [--completions 400]

Every completion is different, so that no cache helps. A core-second is CPU time of this process and its workers. On an idle
machine it equals wall time, because this process and its worker wait for each other.
"""

import argparse
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hint_grpo.scoring import reset_stats, score, stats

Case = tuple[str, str]  # completion, ground truth
FAILURES = ("timeouts", "crashes", "oversized")


@dataclass
class Result:
    """One kind of input under one protocol; times in seconds."""

    scored: int
    correct: float  # sum of the scores
    wall_s: float
    core_s: float
    slowest_s: float


def prose(rng: random.Random) -> Case:
    """Reasoning in words and plain numbers, as most geometry completions are; about 120 tokens."""
    given, drawn = rng.randint(20, 160), rng.uniform(1, 9)
    other = 180 - given if rng.random() < 0.5 else given
    text = (
        f"<think> Since PQ is parallel to RS, angle 1 and angle 2 add up to 180 degrees. Given that angle 1 = "
        f"{given}.0, angle 2 = 180 - {given} = {180 - given}°. The segment PT bisects angle QPR, so angle QPT = "
        f"{given} / 2 = {given / 2}°, and because PT = {drawn:.2f} the triangle PQT is isosceles with PQ = QT. "
        f"The exterior angle at T equals the sum of the two remote interior angles. Therefore, the angle asked for is "
        f"{other}°. </think>\n<answer>{other}</answer>"
    )
    return text, f"{180 - given}°"


def latex(rng: random.Random) -> Case:
    """Reasoning in LaTeX with a root or π in the answer, as ground truths of lengths and areas have."""
    side, root = rng.randint(2, 400), rng.choice([2, 3, 5, 7])
    wrong = rng.random() < 0.5
    text = (
        f"<think> By the Pythagorean theorem \\(PQ^2 = PR^2 + RQ^2\\), hence \\[PQ = \\sqrt{{{side**2 * root}}}\\] and "
        f"\\(\\frac{{PQ}}{{PR}} = \\frac{{\\sqrt{{{root}}}}}{{1}}\\). </think>\n"
        f"<answer>\\({side + wrong}\\sqrt{{{root}}}\\) cm</answer>"
    )
    return text, f"{side}√{{{root}}}cm"


HOSTILE = [
    "10^10^10",
    "10^{10^{10}}",
    "1e999999999",
    "\\frac{1}{" * 500 + "2" + "}" * 500,
    "\\sqrt{" * 70 + "2" + "}" * 70,
    "(" * 240 + "1" + ")" * 240,
    "1+" * 10_000,
    "7" * 200_000,
]


def hostile(rng: random.Random) -> Case:
    """An answer that is written to exhaust the checker."""
    text = HOSTILE[rng.randrange(len(HOSTILE))]
    return f"<think>it is {rng.random()}</think><answer>${text}$</answer>", "4√{3}"


def core_seconds() -> float:
    """CPU time so far of this process and its workers; a worker's counter includes its children that have ended."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def measure(cases: list[Case], protocol: str) -> Result:
    """Scores all cases one after the other."""
    score("<answer>2√2</answer>", "2√{2}")  # starts the worker, which is not measured
    reset_stats()
    wall, core = time.perf_counter(), core_seconds()
    correct, slowest = 0.0, 0.0
    for completion, gold in cases:
        begun = time.perf_counter()
        correct += score(completion, gold, protocol)
        slowest = max(slowest, time.perf_counter() - begun)
    return Result(len(cases), correct, time.perf_counter() - wall, core_seconds() - core, slowest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--completions", type=int, default=400, help="completions of prose, and as many of LaTeX (hostile: always 16)"
    )
    completions = parser.parse_args().completions
    print(f"{'input':9}{'protocol':10}{'scored':>7}{'/s/core':>9}{'/s wall':>9}{'slowest s':>11}  failures")
    for make_case, count in ((prose, completions), (latex, completions), (hostile, 16)):
        for protocol in ("strict", "paper"):
            rng = random.Random(0)
            result = measure([make_case(rng) for _ in range(count)], protocol)
            failures = {
                name: number for name, number in stats().items() if number and name not in ("scored", "compared")
            }
            print(
                f"{make_case.__name__:9}{protocol:10}{result.scored:7}{result.scored / result.core_s:9.1f}"
                f"{result.scored / result.wall_s:9.1f}{result.slowest_s:11.3f}  {failures or 'none'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
