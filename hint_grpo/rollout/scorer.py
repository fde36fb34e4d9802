"""Scores completions while others are sampled: the rewards of a group, and the accuracy of a single completion."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hint_grpo.rollout.escalation import Group, Sampled, Turn
from hint_grpo.scoring.rewards import RewardFunction, reward_columns


@dataclass
class GroupScorer:
    """Computes a group's rewards when it has been sampled: each reward function once, on what the model itself wrote.

    `accuracy` decides the hint level. It is computed even if it is not among `rewards`, the functions trained on: a format
    reward must not stop the escalation. With speculative escalation it is computed for one completion at a time, as soon as that
    has ended, and not again for the group; the other functions always get the whole group. A completion is correct from
    `threshold` on: its entry of a group's `accuracy_G` is then 1.0, else 0.0. `decode` turns token ids into text; `more` gives
    further arguments of the functions.
    """

    rewards: Sequence[RewardFunction]
    accuracy: RewardFunction
    decode: Callable[[list[int]], str]
    threshold: float = 1.0
    more: Callable[[], dict[str, Any]] = dict

    def __call__(
        self, row: dict[str, Any], turn: Turn, completions: list[Sampled], accuracy_G: list[float] | None = None
    ) -> Group:
        """`row` is the turn's data row. Functions get, by name, its columns and `completions` and `begun` (texts), `prompts`
        (messages) and `completion_ids`, G of each."""
        given = self._arguments(row, turn, completions)
        values_G = _as_floats(self.accuracy(**given)) if accuracy_G is None else accuracy_G
        columns_FG = [values_G if reward is self.accuracy else _as_floats(reward(**given)) for reward in self.rewards]
        rewards_GF = [list(row_F) for row_F in zip(*columns_FG, strict=True)]
        return Group(turn, completions, given["completions"], list(map(self.correct, values_G)), rewards_GF)

    def correct(self, value: float) -> float:
        """1.0 or 0.0; NaN where no accuracy was given."""
        return value if math.isnan(value) else float(value >= self.threshold)

    def accuracy_of(self, row: dict[str, Any], turn: Turn, place: int, completion: Sampled) -> float:
        """The accuracy of one completion, whatever the threshold."""
        (accuracy,) = _as_floats(self.accuracy(**self._arguments(row, turn, [completion])))
        return accuracy

    def _arguments(self, row: dict[str, Any], turn: Turn, completions: Sequence[Sampled]) -> dict[str, Any]:
        texts = [self.decode(completion.token_ids) for completion in completions]
        return reward_columns(row, len(texts)) | {
            "completions": texts,
            "begun": [turn.begun] * len(texts),
            "prompts": [turn.prompt.messages] * len(texts),
            "completion_ids": [completion.token_ids for completion in completions],
            **self.more(),
        }


def _as_floats(rewards: Sequence[float | None]) -> list[float]:
    """None and infinity become NaN: TRL leaves NaN out of a group's mean, and one infinity would make every advantage NaN."""
    return [float(reward) if reward is not None and math.isfinite(reward) else math.nan for reward in rewards]


@dataclass(frozen=True, slots=True)
class BatchScorer:
    """A `Scorer` of one batch with the data rows `rows` (B); called from several threads; it reports its time."""

    scorer: GroupScorer
    rows: list[dict[str, Any]]
    add_seconds: Callable[[float], None]

    def group(self, turn: Turn, completions: list[Sampled], accuracy_G: list[float] | None) -> Group:
        with self._timed():
            return self.scorer(self.rows[turn.index], turn, completions, accuracy_G)

    def completion(self, turn: Turn, place: int, completion: Sampled) -> float:
        with self._timed():
            return self.scorer.accuracy_of(self.rows[turn.index], turn, place, completion)

    def correct(self, accuracy: float) -> float:
        return self.scorer.correct(accuracy)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.add_seconds(time.monotonic() - start)
