"""Groups are judged where they are sampled: every reward function once, on what the model itself wrote."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from hint_grpo.rollout.types import Group, Sampled, Turn

RewardFunction = Callable[..., list[float]]


class Judge:
    """Turns a turn's completions into a Group.

    `accuracy` decides the hint level and is computed even where it is not among the rewards trained on: a format reward
    must not stop the escalation. `rows[turn.index]` is the turn's data row; functions get its columns by name.
    """

    def __init__(self, rewards: Sequence[RewardFunction], accuracy: RewardFunction, decode: Callable[[list[int]], str]):
        self.rewards = rewards
        self.accuracy = accuracy
        self.decode = decode
        self.rows: Sequence[dict[str, Any]] = ()

    def __call__(self, turn: Turn, completions: list[Sampled]) -> Group:
        texts = [self.decode(completion.token_ids) for completion in completions]
        columns = {name: [value] * len(texts) for name, value in self.rows[turn.index].items()}
        given = columns | {"completions": texts, "begun": [turn.begun] * len(texts)}
        accuracy_G = _as_floats(self.accuracy(**given))
        columns_FG = [accuracy_G if reward is self.accuracy else _as_floats(reward(**given)) for reward in self.rewards]
        rewards_GF = [list(row) for row in zip(*columns_FG, strict=True)]
        return Group(turn, completions, texts, accuracy_G, rewards_GF)


def _as_floats(rewards: Sequence[float | None]) -> list[float]:
    """None and infinity become NaN: TRL leaves NaN out of a group's mean, and one infinity would make every advantage NaN."""
    return [float(reward) if reward is not None and math.isfinite(reward) else math.nan for reward in rewards]
