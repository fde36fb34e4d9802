"""The types of a rollout, in the order in which they come about. Letters: B prompts, H levels, G completions, T tokens.

EncodedPrompt   a prompt as token ids, with what the image processor made of its picture
Turn            a prompt at one hint level: what a backend is asked to continue, G times
Sampled         one completion's tokens, as the model wrote them
Group           G completions of one turn with their rewards
Rollout         every group tried for one prompt, and which one is trained on
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from hint_grpo.hints import HintLevel


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """`ids` hold one placeholder per image token (what transformers takes), `short_ids` one per image (what vLLM takes).

    `image_inputs` are the processor's of `image`, which the policy reads. vLLM reads `sampler_image`: the same picture, or
    what --picture_processing made of it, with as many image tokens.
    """

    messages: list[dict[str, Any]]
    ids: list[int]
    short_ids: list[int]
    image: Any
    image_inputs: dict[str, Any]
    sampler_image: Any


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """Continue `prompt`, whose assistant turn is begun with `begun_ids` (`<think>` and the hint), `seed` for sampling."""

    index: int  # which of the B prompts
    hint: HintLevel
    prompt: EncodedPrompt
    begun: str
    begun_ids: list[int]
    hint_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """Tokens with the end token where there is one; `logps` are the sampler's own, None where it gives none."""

    token_ids: list[int]
    logps: list[float] | None


@dataclass(frozen=True, slots=True)
class Group:
    """G completions of one turn. `rewards_GF` has one column per reward function, NaN where one gave none."""

    turn: Turn
    completions: list[Sampled]
    texts: list[str]
    accuracy_G: list[float]
    rewards_GF: list[list[float]]


@dataclass(slots=True)
class Rollout:
    """One prompt's groups by level, lowest first, and the level trained on."""

    groups: dict[int, Group] = field(default_factory=dict)
    chosen: int = 0

    @property
    def group(self) -> Group:
        return self.groups[self.chosen]


# Called when all G completions of a turn are there; returns the turns to sample next.
OnGroup = Callable[[Turn, list[Sampled]], Sequence[Turn]]


class RolloutBackend(Protocol):
    """Samples turns. `ready` holds whatever must stay in place while turns are sampled (gathered or loaded weights)."""

    def ready(self) -> AbstractContextManager[None]: ...

    def run(self, turns: Sequence[Turn], num_generations: int, on_group: OnGroup) -> None: ...
