"""What a hint policy may know of earlier steps: the outcomes of its sample, and the accuracy of every step so far.

Everything is computed from the hint ledger's records, in their order. A resumed run reads them from the file, so it knows
exactly what the uninterrupted one would; on several processes every rank adds the records of all.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tried:
    """Completions that were sampled with `num_steps` steps as a hint: 1.0 for a correct one, 0.0 for others, NaN if unknown."""

    num_steps: int
    accuracy_G: tuple[float, ...]

    @property
    def num_correct(self) -> int:
        return sum(accuracy == 1.0 for accuracy in self.accuracy_G)

    @property
    def share_correct(self) -> float:
        return self.num_correct / len(self.accuracy_G)


@dataclass(frozen=True, slots=True)
class Visit:
    """One earlier time that the sample was trained on: what was tried in that step, in the order of the levels or rounds."""

    step: int
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True)
class History:
    """`visits` of this sample, earliest first; `accuracies`: the mean accuracy of each earlier step, over the completions
    that were trained on; `group`: the rounds of this group so far (mixing policies)."""

    visits: Sequence[Visit] = ()
    accuracies: Sequence[float] = ()
    group: tuple[Tried, ...] = ()


NOTHING = History()


class Memory:
    """Collects ledger records, and gives the History of a sample."""

    def __init__(self) -> None:
        self._visits: dict[str, list[Visit]] = {}
        self._accuracies: list[float] = []
        self._step = 0  # the last one
        self._sum, self._count = 0.0, 0  # of the accuracies in that step, which may have several batches

    def add(self, records: Iterable[Record]) -> None:
        """Adds the records of a batch, of all ranks. Steps must not go backwards."""
        for record in records:
            visit = Visit(record["step"], tried_in(record))
            self._visits.setdefault(record["id"], []).append(visit)
            if record["step"] != self._step:
                self._step, self._sum, self._count = record["step"], 0.0, 0
                self._accuracies.append(math.nan)
            for accuracy in trained_accuracies(record):
                if not math.isnan(accuracy):
                    self._sum, self._count = self._sum + accuracy, self._count + 1
            if self._count:
                self._accuracies[-1] = self._sum / self._count

    def copy(self) -> "Memory":
        """What is known now; it does not change when more is added here."""
        other = Memory()
        other._visits = {id: list(visits) for id, visits in self._visits.items()}
        other._accuracies = list(self._accuracies)
        other._step, other._sum, other._count = self._step, self._sum, self._count
        return other

    def of(self, id: str, group: tuple[Tried, ...] = ()) -> History:
        """The history of the sample `id`; `group` are the rounds sampled for it in this step. It is a view: use it at once."""
        return History(self._visits.get(id, ()), self._accuracies, group)


def tried_in(record: Record) -> tuple[Tried, ...]:
    """What a ledger record says was sampled, by level."""
    # Ledgers of earlier versions have only the number of steps that was trained on.
    steps = record.get("steps_by_level") or {str(record["level"]): record["hint_steps"]}
    return tuple(
        Tried(steps[level], tuple(record["accuracy"][level])) for level in record["accuracy"] if level in steps
    )


def trained_accuracies(record: Record) -> list[float]:
    """The accuracies of the completions trained on: those of the chosen level, or of all rounds of a mixed group."""
    accuracy = record["accuracy"]
    levels = list(accuracy) if record.get("mixed") else [str(record["level"])]
    return [value for level in levels for value in accuracy[level]]
