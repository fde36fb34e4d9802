"""The types of a rollout, in the order in which they come about. Letters: B prompts, H levels, G completions, F reward functions.

EncodedPrompt   a prompt as token ids, with what the image processor made of its picture
Turn            a prompt at one hint level: what a backend continues G times
Sampled         one completion: its tokens as the model wrote them, and why it ended
Group           the G completions of one turn with their rewards
Rollout         every group sampled for one prompt, and which of them is trained on
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hint_grpo.hints import HintLevel


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
    """One prompt's groups by level, lowest first, and the level trained on."""

    groups: dict[int, Group] = field(default_factory=dict)
    chosen: int = 0

    @property
    def group(self) -> Group:
        return self.groups[self.chosen]


# Called when all G completions of a turn have been sampled; returns the turns to sample next.
OnGroup = Callable[[Turn, list[Sampled]], Sequence[Turn]]


class RolloutBackend(Protocol):
    """Samples turns. `ready` holds whatever must stay in place during sampling (gathered or loaded weights)."""

    def ready(self) -> AbstractContextManager[None]: ...

    def run(self, turns: Sequence[Turn], num_generations: int, on_group: OnGroup) -> None:
        """Samples `num_generations` completions of each turn, and of each turn that `on_group` returns, until none is left."""
        ...
