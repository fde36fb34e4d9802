"""Which steps a table and the figures need: for each run its training, then its evaluations, in one chain.

A chain is walked lazily: which checkpoints there are to evaluate is known only when the training before is done.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from eval.reproduce.recipes import BASE, Row
from eval.reproduce.steps import Evaluation, Experiment, Step, Training, checkpoints, last_step

PLAIN, MAIN = "grpo", "hint_grpo_m3"
"""The runs that the figures compare: plain GRPO, and the paper's main row."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is wanted of one run: its last weights at some scales, and whether each checkpoint, seeing and blind."""

    run: str
    scales: tuple[float, ...]
    both_ways: bool = False


def needs(rows: Sequence[Row], both_ways: Iterable[str]) -> list[Need]:
    """One need per run of `rows`, in their order; the runs of `both_ways`, and `base` with them, seeing and blind too.

    The longest come first, so that none is left to run alone at the end.
    """
    blind = set(both_ways)
    blind |= {BASE} if blind else set()
    by_run: dict[str, list[float]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(row.scale)
    for run in sorted(blind):
        by_run.setdefault(run, []).append(0.0)
    found = [Need(run, tuple(sorted(set(scales))), run in blind) for run, scales in by_run.items()]
    return sorted(found, key=lambda need: (not need.both_ways, need.run == BASE))


def steps(need: Need, experiment: Experiment) -> Iterator[Step]:
    if need.run != BASE:
        yield Training(experiment, need.run)
    yield final_evaluation(need.run, experiment, need.scales)
    if need.both_ways:
        for _, seeing, blind in both_ways(need.run, experiment):
            yield seeing
            yield blind


def final_evaluation(run: str, experiment: Experiment, scales: tuple[float, ...] = (0.0,)) -> Evaluation:
    return Evaluation(experiment, run, experiment.weights(run), scales=scales)


def both_ways(run: str, experiment: Experiment) -> Iterator[tuple[int, Evaluation, Evaluation]]:
    """(step, with the picture, without it) of every checkpoint and of the last weights, which the last checkpoint may equal."""
    weights = {0: experiment.weights(BASE)} if run == BASE else checkpoints(experiment.training_folder(run))
    if run != BASE and Training(experiment, run).state() == "finished":
        weights[last_step(experiment.training_folder(run))] = experiment.training_folder(run)
    for step, folder in weights.items():
        label = "final" if folder == experiment.weights(run) else folder.name
        yield (
            step,
            Evaluation(experiment, run, folder, label),
            Evaluation(experiment, run, folder, label, no_image=True),
        )
