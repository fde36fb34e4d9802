"""From prompts to rollouts: their types, which level of which prompt is sampled when, and which group is trained on (section
3.2).

The original code samples and scores every level of every prompt and uses one. Here a backend gets the first turns and, each
time a group is complete, asks what to sample next: a prompt moves up a level as soon as its own group is scored, independently
of the others, and a prompt that has succeeded costs nothing more.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hint_grpo.hints import HintLevel, chosen_level, has_correct, sum_above_zero
from hint_grpo.scoring.rewards import RewardFunction, reward_columns

# ----------------------------------------------------------------------------------------------------
# The types, in the order in which they are made. Letters: B prompts, H levels, G completions, F reward functions.
#
# EncodedPrompt   a prompt as token ids, with what the image processor made of its picture
# Turn            a prompt at one hint level: what a backend continues G times
# Sampled         one completion: its tokens as the model wrote them, and why it ended
# Group           the G completions of one turn with their rewards
# Rollout         every group sampled for one prompt, and which of them is trained on


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """A prompt as a model reads it.

    `ids` hold one placeholder per image token (for transformers), `short_ids` one per image (for vLLM, which expands it).
    `image_inputs` is what the processor made of `image`, for the policy. vLLM gets `sampler_image`: the same picture, or the
    one that --picture_processing made of it, with as many image tokens.
    """

    messages: list[dict[str, Any]]
    ids: list[int]
    short_ids: list[int]
    image: Any
    image_inputs: dict[str, Any]
    sampler_image: Any


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """An assistant turn to complete: `prompt`, then `begun_ids` (`<think>` and the hint); `seed` is for sampling."""

    index: int  # which of the B prompts
    hint: HintLevel
    prompt: EncodedPrompt
    begun: str
    begun_ids: list[int]
    hint_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion. `token_ids` include the end token if the model wrote one.

    `logps` are the sampler's log-probabilities of these tokens (None: the sampler is the policy itself and reports none).
    `finish_reason`: "stop" after an end token, "length" if --max_completion_length cut it off.
    """

    token_ids: list[int]
    logps: list[float] | None
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Group:
    """G completions of one turn. `rewards_GF` has one column per reward function, NaN where a function gave no reward."""

    turn: Turn
    completions: list[Sampled]
    texts: list[str]
    accuracy_G: list[float]
    rewards_GF: list[list[float]]

    def weighted_rewards(self, weights_F: Sequence[float]) -> list[float]:
        """(G,): the weighted sum over reward functions; NaN where none gave a reward."""
        totals = []
        for row_F in self.rewards_GF:
            given = [weight * reward for weight, reward in zip(weights_F, row_F, strict=True) if not math.isnan(reward)]
            totals.append(sum(given) if given else math.nan)
        return totals


@dataclass(slots=True)
class Rollout:
    """One prompt's groups by level, lowest first, and the level trained on; or, if `mixed`, the rounds of one group (by number),
    which are all trained on (rollout/mixed.py)."""

    groups: dict[int, Group] = field(default_factory=dict)
    chosen: int = 0
    mixed: bool = False

    @property
    def group(self) -> Group:
        return self.groups[self.chosen]

    @property
    def trained(self) -> list[Group]:
        """What is trained on: G completions in all."""
        return list(self.groups.values()) if self.mixed else [self.group]


# Called when all G completions of a turn have been sampled; returns the turns to sample next.
OnGroup = Callable[[Turn, list[Sampled]], Sequence[Turn]]


class RolloutBackend(Protocol):
    """Samples turns. `ready` holds whatever must stay in place during sampling (gathered or loaded weights)."""

    def ready(self) -> AbstractContextManager[None]: ...

    def run(self, turns: Sequence[Turn], num_generations: int, on_group: OnGroup) -> None:
        """Samples `num_generations` completions of each turn, and of each turn that `on_group` returns, until none is left."""
        ...


# ----------------------------------------------------------------------------------------------------
# Rewards of a group


# Scores the G completions of a turn.
ScoreGroup = Callable[[Turn, list[Sampled]], Group]


@dataclass
class GroupScorer:
    """Computes a group's rewards when it has been sampled: each reward function once, on what the model itself wrote.

    `accuracy` decides the hint level. It is computed even if it is not among `rewards`, the functions trained on: a format
    reward must not stop the escalation. A completion is correct from `threshold` on: its entry of a group's `accuracy_G` is
    then 1.0, else 0.0. `decode` turns token ids into text; `more` gives further arguments of the functions.
    """

    rewards: Sequence[RewardFunction]
    accuracy: RewardFunction
    decode: Callable[[list[int]], str]
    threshold: float = 1.0
    more: Callable[[], dict[str, Any]] = dict

    def __call__(self, row: dict[str, Any], turn: Turn, completions: list[Sampled]) -> Group:
        """`row` is the turn's data row. Functions get, by name, its columns and `completions` and `begun` (texts), `prompts`
        (messages) and `completion_ids`, G of each."""
        texts = [self.decode(completion.token_ids) for completion in completions]
        given = reward_columns(row, len(texts)) | {
            "completions": texts,
            "begun": [turn.begun] * len(texts),
            "prompts": [turn.prompt.messages] * len(texts),
            "completion_ids": [completion.token_ids for completion in completions],
            **self.more(),
        }
        values_G = _as_floats(self.accuracy(**given))
        columns_FG = [values_G if reward is self.accuracy else _as_floats(reward(**given)) for reward in self.rewards]
        rewards_GF = [list(row_F) for row_F in zip(*columns_FG, strict=True)]
        return Group(turn, completions, texts, [self._correct(value) for value in values_G], rewards_GF)

    def _correct(self, value: float) -> float:
        """1.0 or 0.0; NaN where no accuracy was given."""
        return value if math.isnan(value) else float(value >= self.threshold)


def _as_floats(rewards: Sequence[float | None]) -> list[float]:
    """None and infinity become NaN: TRL leaves NaN out of a group's mean, and one infinity would make every advantage NaN."""
    return [float(reward) if reward is not None and math.isfinite(reward) else math.nan for reward in rewards]


# ----------------------------------------------------------------------------------------------------
# The choice of the level


@dataclass(frozen=True, slots=True)
class LevelRule:
    """When a level is enough: `succeeds(values(group))`. The lowest such level is trained on.

    `unsolved`: which of the sampled levels is trained on if none is enough.
    """

    values: Callable[[Group], Sequence[float]]
    succeeds: Callable[[Sequence[float]], bool]
    unsolved: Literal["lowest", "highest"] = "lowest"

    @classmethod
    def named(cls, name: Literal["accuracy", "summed_rewards"], weights_F: Sequence[float]) -> "LevelRule":
        """accuracy: one correct completion (the paper) | summed_rewards: rewards that sum to more than 0 (released code)."""
        if name == "accuracy":
            return ACCURACY
        return cls(lambda group: group.weighted_rewards(weights_F), sum_above_zero)

    def __call__(self, group: Group) -> bool:
        return self.succeeds(self.values(group))

    def choose(self, groups: dict[int, Group]) -> int:
        """The lowest level that succeeded, else the lowest sampled (level 0), or the highest."""
        levels = sorted(groups)
        if self.unsolved == "highest" and not any(map(self, groups.values())):
            return levels[-1]
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
