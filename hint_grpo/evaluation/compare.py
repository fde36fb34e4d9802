"""A paired comparison of two runs on the same questions: McNemar's exact test.

Two accuracies on the same questions are not independent: only the questions on which exactly one run was correct count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hint_grpo.evaluation.results import RESULTS_FILE, Result, existing_results, mcnemar_exact
from hint_grpo.machine.errors import UserError

REPORTED_PROTOCOLS = ("paper", "strict")
IDS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """The 2x2 table of one protocol, over the questions that both runs answered; with the ids on which the runs differ."""

    protocol: str
    both: int
    ids_only_a: tuple[str, ...]
    """The questions that only run A answered correctly, in the order of its file."""
    ids_only_b: tuple[str, ...]
    neither: int

    @property
    def only_a(self) -> int:
        return len(self.ids_only_a)

    @property
    def only_b(self) -> int:
        return len(self.ids_only_b)

    @property
    def num_questions(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def accuracy_a(self) -> float:
        return (self.both + self.only_a) / self.num_questions

    @property
    def accuracy_b(self) -> float:
        return (self.both + self.only_b) / self.num_questions

    @property
    def p_value(self) -> float:
        return mcnemar_exact(self.only_a, self.only_b)


def compare(results_a: Mapping[str, Result], results_b: Mapping[str, Result], protocol: str) -> Comparison:
    """The table over the shared questions.

    Raises UserError if an id means different questions, if the answers were not judged here, or if no question is shared.
    """
    ids: dict[tuple[bool, bool], list[str]] = {(a, b): [] for a in (True, False) for b in (True, False)}
    for id, a in results_a.items():
        b = results_b.get(id)
        if b is None:
            continue
        if a.question != b.question:
            raise UserError(f"question {id} differs between the runs: they were not made from the same question file")
        if "none" in (a.judging.judge, b.judging.judge):
            raise UserError("these answers were not judged here: compare the results of the benchmark's own evaluator")
        ids[_is_correct(a, protocol), _is_correct(b, protocol)].append(id)
    if not any(ids.values()):
        raise UserError("the two runs share no question: compare two runs over the same question file")
    return Comparison(
        protocol, len(ids[True, True]), tuple(ids[True, False]), tuple(ids[False, True]), len(ids[False, False])
    )


def _is_correct(result: Result, protocol: str) -> bool:
    return result.correct_paper if protocol == "paper" else result.correct_strict


def results_of(run: Path) -> dict[str, Result]:
    """The results of a run named by the user: a results.jsonl, its folder, or an output folder with a single scale.

    Raises UserError if there are none, or several runs.
    """
    if run.is_file():
        return existing_results(run)
    if not run.is_dir():
        raise UserError(f"{run} does not exist: name a run's folder, such as OUTPUT_DIR/scale-0.8")
    if (run / RESULTS_FILE).is_file():
        return existing_results(run / RESULTS_FILE)
    inside = sorted(run.glob(f"scale-*/{RESULTS_FILE}"))
    if len(inside) != 1:
        folders = ", ".join(str(path.parent) for path in inside) or "none"
        raise UserError(f"{run} holds {len(inside)} runs ({folders}): name one of them")
    return existing_results(inside[0])


def comparison_text(name_a: str, name_b: str, comparison: Comparison) -> str:
    """The comparison as lines to print, with the first IDS_SHOWN ids of either kind of difference."""
    c = comparison
    if c.p_value < 0.05:
        verdict = f"{'A' if c.only_a > c.only_b else 'B'} is better (p < 0.05)"
    else:
        verdict = "no difference shown at the 5 % level"
    return "\n".join(
        [
            f"{c.protocol} protocol, {c.num_questions} questions",
            f"  A {name_a}: {c.accuracy_a:.2%}",
            f"  B {name_b}: {c.accuracy_b:.2%}   (B - A: {100 * (c.accuracy_b - c.accuracy_a):+.2f} points)",
            f"  right in both {c.both}, only in A {c.only_a}, only in B {c.only_b}, in neither {c.neither}",
            f"  McNemar's exact test, two-sided: p = {c.p_value:.4g}; {verdict}",
            *(f"  only in {run}: {_shown(ids)}" for run, ids in (("A", c.ids_only_a), ("B", c.ids_only_b)) if ids),
        ]
    )


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return ", ".join(ids[:IDS_SHOWN]) + more
