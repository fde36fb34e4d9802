"""From prompts to rollouts: which level of which prompt is sampled when, and which group is trained on.

The original samples and scores every level of every prompt and uses one. Here a backend is handed the first turns and asks,
each time a group is complete, what to sample next: a prompt goes up a level the moment its own group is judged, whatever
the others do, and a prompt that has succeeded costs nothing more.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hint_grpo.hints import chosen_level, has_correct, sum_above_zero
from hint_grpo.rollout.types import Group, Rollout, RolloutBackend, Sampled, Turn
from hint_grpo.training.ledger import weighted_rewards

# ----------------------------------------------------------------------------------------------------
# Groups are judged where they are sampled: every reward function once, on what the model itself wrote.

RewardFunction = Callable[..., list[float]]


class GroupScorer:
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


ScoreGroup = Callable[[Turn, list[Sampled]], Group]


def turn_seed(run_seed: int, step: int, sample_id: str, level: int) -> int:
    """A sampling seed that depends on nothing but these four, so that a step can be repeated after a resume."""
    digest = hashlib.blake2b(f"{run_seed}/{step}/{sample_id}/{level}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 33  # 31 bits: every sampler takes them


@dataclass(frozen=True, slots=True)
class LevelRule:
    """When a level is enough: `succeeds(values(group))`. The lowest such level is trained on."""

    values: Callable[[Group], Sequence[float]]
    succeeds: Callable[[Sequence[float]], bool]

    @classmethod
    def named(cls, name: Literal["accuracy", "summed_rewards"], weights_F: Sequence[float]) -> "LevelRule":
        """accuracy: one correct completion (the paper) | summed_rewards: rewards that sum to more than 0 (released)."""
        if name == "accuracy":
            return ACCURACY
        return cls(lambda group: weighted_rewards(group, weights_F), sum_above_zero)

    def __call__(self, group: Group) -> bool:
        return self.succeeds(self.values(group))

    def choose(self, groups: dict[int, Group]) -> int:
        """The lowest level that succeeded, else the lowest sampled (level 0)."""
        levels = sorted(groups)
        return levels[chosen_level([self.values(groups[level]) for level in levels], self.succeeds)]


ACCURACY = LevelRule(lambda group: group.accuracy_G, has_correct)


def roll_out(
    turns_BH: Sequence[Sequence[Turn]],
    backend: RolloutBackend,
    score: ScoreGroup,
    *,
    num_generations: int,
    lazy: bool,
    rule: LevelRule = ACCURACY,
) -> list[Rollout]:
    """Samples each prompt's turns (lowest level first) until one group is enough by `rule`.

    `lazy` samples level i+1 only for prompts where no level was enough so far; otherwise all levels go out at once.
    """
    rollouts = [Rollout() for _ in turns_BH]

    def on_group(turn: Turn, completions: list[Sampled]) -> Sequence[Turn]:
        rollout, turns_H = rollouts[turn.index], turns_BH[turn.index]
        group = score(turn, completions)
        rollout.groups[turn.hint.level] = group
        if not lazy or rule(group):
            return []
        return turns_H[len(rollout.groups) : len(rollout.groups) + 1]

    first = [turn for turns_H in turns_BH for turn in (turns_H[:1] if lazy else turns_H)]
    with backend.ready():
        backend.run(first, num_generations, on_group)
    for rollout in rollouts:
        rollout.groups = dict(sorted(rollout.groups.items()))
        rollout.chosen = rule.choose(rollout.groups)
    return rollouts
