"""From prompts to rollouts: which level of which prompt is sampled when, and which group is trained on (paper section 3.2).

The original code samples and scores every level of every prompt and uses one. Here a backend gets the first turns and, each
time a group is complete, asks what to sample next: a prompt moves up a level as soon as its own group is scored, independently
of the others, and a prompt that has succeeded costs nothing more.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hint_grpo.hints import chosen_level, has_correct, sum_above_zero
from hint_grpo.rollout.types import Group, Rollout, RolloutBackend, Sampled, Turn

# ----------------------------------------------------------------------------------------------------
# Rewards of a group


RewardFunction = Callable[..., list[float]]
# Scores the G completions of a turn.
ScoreGroup = Callable[[Turn, list[Sampled]], Group]


@dataclass
class GroupScorer:
    """Computes a group's rewards when it has been sampled: each reward function once, on what the model itself wrote.

    `accuracy` decides the hint level. It is computed even if it is not among `rewards`, the functions trained on: a format
    reward must not stop the escalation. `decode` turns token ids into text.
    """

    rewards: Sequence[RewardFunction]
    accuracy: RewardFunction
    decode: Callable[[list[int]], str]

    def __call__(self, row: dict[str, Any], turn: Turn, completions: list[Sampled]) -> Group:
        """`row` is the turn's data row. Functions get, by name, its columns and `completions` and `begun` (texts), G of each."""
        texts = [self.decode(completion.token_ids) for completion in completions]
        columns = {name: [value] * len(texts) for name, value in row.items()}
        given = columns | {"completions": texts, "begun": [turn.begun] * len(texts)}
        accuracy_G = _as_floats(self.accuracy(**given))
        columns_FG = [accuracy_G if reward is self.accuracy else _as_floats(reward(**given)) for reward in self.rewards]
        rewards_GF = [list(row_F) for row_F in zip(*columns_FG, strict=True)]
        return Group(turn, completions, texts, accuracy_G, rewards_GF)


def _as_floats(rewards: Sequence[float | None]) -> list[float]:
    """None and infinity become NaN: TRL leaves NaN out of a group's mean, and one infinity would make every advantage NaN."""
    return [float(reward) if reward is not None and math.isfinite(reward) else math.nan for reward in rewards]


# ----------------------------------------------------------------------------------------------------
# The choice of the level


@dataclass(frozen=True, slots=True)
class LevelRule:
    """When a level is enough: `succeeds(values(group))`. The lowest such level is trained on."""

    values: Callable[[Group], Sequence[float]]
    succeeds: Callable[[Sequence[float]], bool]

    @classmethod
    def named(cls, name: Literal["accuracy", "summed_rewards"], weights_F: Sequence[float]) -> "LevelRule":
        """accuracy: one correct completion (the paper) | summed_rewards: rewards that sum to more than 0 (released code)."""
        if name == "accuracy":
            return ACCURACY
        return cls(lambda group: group.weighted_rewards(weights_F), sum_above_zero)

    def __call__(self, group: Group) -> bool:
        return self.succeeds(self.values(group))

    def choose(self, groups: dict[int, Group]) -> int:
        """The lowest level that succeeded, else the lowest sampled (level 0)."""
        levels = sorted(groups)
        return levels[chosen_level([self.values(groups[level]) for level in levels], self.succeeds)]


ACCURACY = LevelRule(lambda group: group.accuracy_G, has_correct)


# ----------------------------------------------------------------------------------------------------
# Sampling level by level


def turn_seed(run_seed: int, step: int, sample_id: str, level: int) -> int:
    """A sampling seed that depends on these four alone, so that a step can be repeated after a resume."""
    digest = hashlib.blake2b(f"{run_seed}/{step}/{sample_id}/{level}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 33  # 31 bits: every sampler accepts them


def roll_out(
    turns_BH: Sequence[Sequence[Turn]],
    backend: RolloutBackend,
    score: ScoreGroup,
    *,
    num_generations: int,
    lazy: bool,
    rule: LevelRule = ACCURACY,
) -> list[Rollout]:
    """Samples each prompt's turns (lowest level first) until one group is enough by `rule`; returns B rollouts.

    `lazy` samples level i+1 only for prompts where no level was enough so far; otherwise all levels are sampled at once.
    """
    rollouts = [Rollout() for _ in turns_BH]

    def on_group(turn: Turn, completions: list[Sampled]) -> Sequence[Turn]:
        rollout, turns_H = rollouts[turn.index], turns_BH[turn.index]
        group = score(turn, completions)
        rollout.groups[turn.hint.level] = group
        if not lazy or rule(group):
            return []
        return turns_H[len(rollout.groups) : len(rollout.groups) + 1]  # the next level, if there is one

    first = [turn for turns_H in turns_BH for turn in (turns_H[:1] if lazy else turns_H)]
    with backend.ready():
        backend.run(first, num_generations, on_group)
    # Eager levels finish in any order.
    for rollout in rollouts:
        rollout.groups = dict(sorted(rollout.groups.items()))
        rollout.chosen = rule.choose(rollout.groups)
    return rollouts
