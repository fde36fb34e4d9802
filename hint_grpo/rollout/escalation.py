"""From prompts to rollouts: their types, which level of which prompt is sampled when, and which group is trained on (section
3.2).

The original code samples and scores every level of every prompt and uses one. Here a backend gets the first turns, reports
every completion to `Escalation`, and is told what to sample next and what to stop, for each prompt independently of the others:

lazy          a prompt moves up a level as soon as its own group is scored and is not enough; no token is wasted
eager         all levels are sampled to their end
speculative   all levels are sampled at once; as soon as a level is known to be enough, all higher levels are stopped

All three choose the same group: the lowest level that is enough, else level 0.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from hint_grpo.hints import HintLevel, chosen_level, has_correct, sum_above_zero
from hint_grpo.rollout.placement import Schedule

# ----------------------------------------------------------------------------------------------------
# The types, in the order in which they are made. Letters: B prompts, H levels, G completions, F reward functions.
#
# EncodedPrompt   a prompt as token ids, with what the image processor made of its picture
# Turn            a prompt at one hint level: what a backend continues G times
# Sampled         one completion: its tokens as the model wrote them, and why it ended
# Group           the G completions of one turn with their rewards
# Rollout         every group sampled for one prompt, which of them is trained on, and how much was thrown away


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

    @property
    def num_tokens(self) -> int:
        """The sampled tokens of all completions."""
        return sum(len(completion.token_ids) for completion in self.completions)

    def weighted_rewards(self, weights_F: Sequence[float]) -> list[float]:
        """(G,): the weighted sum over reward functions; NaN where none gave a reward."""
        totals = []
        for row_F in self.rewards_GF:
            given = [weight * reward for weight, reward in zip(weights_F, row_F, strict=True) if not math.isnan(reward)]
            totals.append(sum(given) if given else math.nan)
        return totals


@dataclass(frozen=True, slots=True)
class Discarded:
    """What was sampled at a level and thrown away: whole completions and the beginnings of stopped ones."""

    num_completions: int
    num_tokens: int


@dataclass(slots=True)
class Rollout:
    """One prompt's groups by level, lowest first, the level trained on, and what was thrown away, by level. If `mixed`, the
    groups are the rounds of one group (by number), which are all trained on (rollout/mixed.py)."""

    groups: dict[int, Group] = field(default_factory=dict)
    chosen: int = 0
    discarded: dict[int, Discarded] = field(default_factory=dict)
    mixed: bool = False

    @property
    def group(self) -> Group:
        return self.groups[self.chosen]

    def is_trained(self, level: int) -> bool:
        return self.mixed or level == self.chosen

    @property
    def trained(self) -> list[Group]:
        """What is trained on: G completions in all."""
        return [group for level, group in self.groups.items() if self.is_trained(level)]

    @property
    def num_tokens(self) -> int:
        """All that were sampled for the prompt, kept or thrown away."""
        kept = sum(group.num_tokens for group in self.groups.values())
        return kept + sum(discarded.num_tokens for discarded in self.discarded.values())


class RolloutBackend(Protocol):
    """Samples turns. `ready` holds whatever must stay in place during sampling (gathered or loaded weights)."""

    def ready(self) -> AbstractContextManager[None]: ...

    def run(self, escalation: "Escalation") -> None:
        """Samples `escalation.first()`, G completions of each turn, reports each with `escalation.finished`, runs the jobs and
        carries out the orders that come back, until nothing is left. With `escalation.speculative` every completion is
        reported as soon as it has ended; otherwise a turn's G completions may be reported together."""
        ...


# ----------------------------------------------------------------------------------------------------
# Rewards of a group: `hint_grpo.rollout.scorer`


class Scorer(Protocol):
    """Scores what was sampled; called from other threads, several at a time. An accuracy is what its function gave."""

    def group(self, turn: Turn, completions: list[Sampled], accuracy_G: list[float] | None) -> Group:
        """The rewards of a turn's completions; `accuracy_G`: their accuracies, if they are known already."""
        ...

    def completion(self, turn: Turn, place: int, completion: Sampled) -> float:
        """The accuracy of the completion at `place` of the group, before the group is complete."""
        ...

    def correct(self, accuracy: float) -> float:
        """1.0 if a completion with this accuracy is correct, else 0.0; NaN for NaN."""
        ...


# ----------------------------------------------------------------------------------------------------
# The choice of the level


@dataclass(frozen=True, slots=True)
class LevelRule:
    """When a level is enough: `succeeds(values(group))`. The lowest such level is trained on.

    `by_completion`: the values are the accuracies, and one completion for which `succeeds([accuracy])` is enough, whatever
    the others are. A sum of rewards is known only when the group is complete, since some of them may be negative.
    `unsolved`: which of the sampled levels is trained on if none is enough.
    """

    values: Callable[[Group], Sequence[float]]
    succeeds: Callable[[Sequence[float]], bool]
    by_completion: bool = False
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


ACCURACY = LevelRule(lambda group: group.accuracy_G, has_correct, by_completion=True)


# ----------------------------------------------------------------------------------------------------
# Which level is sampled when


def turn_seed(run_seed: int, step: int, sample_id: str, level: int) -> int:
    """A sampling seed that depends on these four alone, so that a step can be repeated after a resume. With vLLM, completion g
    of the turn has seed + g, however many of them are sampled in one request."""
    digest = hashlib.blake2b(f"{run_seed}/{step}/{sample_id}/{level}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 33  # 31 bits: every sampler accepts them


class Job(NamedTuple):
    """Scoring to be done: `run` in any thread, then `conclude`, with its result, in the thread that drives the backend."""

    run: Callable[[], Any]
    conclude: Callable[[Any], "Orders"]


class Orders(NamedTuple):
    """What a backend has to do: sample turns, stop turns (those of them that have not ended), run jobs."""

    sample: Sequence[Turn] = ()
    stop: Sequence[Turn] = ()
    jobs: Sequence[Job] = ()


@dataclass(slots=True)
class _Sampling:
    """A turn that a backend samples: what has ended (by place in the group), and how much of the rest was stopped."""

    turn: Turn
    ended: dict[int, Sampled] = field(default_factory=dict)
    accuracy: dict[int, float] = field(default_factory=dict)
    stopped_tokens: list[int] = field(default_factory=list)  # of each completion that was stopped after its first token

    def discarded(self) -> Discarded:
        tokens = [len(completion.token_ids) for completion in self.ended.values()] + self.stopped_tokens
        return Discarded(len(tokens), sum(tokens))


class Escalation:
    """The state of one batch of prompts while it is sampled. Everything but the jobs' `run` is called in one thread."""

    def __init__(
        self,
        turns_BH: Sequence[Sequence[Turn]],
        scorer: Scorer,
        *,
        num_generations: int,
        schedule: Schedule,
        rule: LevelRule = ACCURACY,
    ) -> None:
        self.turns_BH, self.scorer, self.rule = turns_BH, scorer, rule
        self.num_generations = num_generations
        self.lazy, self.speculative = schedule == "lazy", schedule == "speculative"
        self.by_completion = self.speculative and rule.by_completion
        self.groups: list[dict[int, Group]] = [{} for _ in turns_BH]
        # (B): the lowest level known to be enough; no higher one can be chosen any more.
        self.enough: list[float] = [math.inf] * len(turns_BH)
        self._sampling: dict[tuple[int, int], _Sampling] = {}

    # --- called by the backend ---

    def first(self) -> list[Turn]:
        """The turns to begin with, lowest levels first, so that these start first if the engine cannot take all of them."""
        if self.lazy:
            return self._begin([turns_H[0] for turns_H in self.turns_BH])
        most = max(map(len, self.turns_BH), default=0)
        return self._begin(
            [turns_H[place] for place in range(most) for turns_H in self.turns_BH if place < len(turns_H)]
        )

    def finished(self, turn: Turn, place: int, completion: Sampled) -> Sequence[Job]:
        """Takes a completion that has ended; returns what is to be scored now."""
        sampling = self._sampling[_key(turn)]
        sampling.ended[place] = completion
        if not self._can_be_chosen(turn):
            return ()
        if self.by_completion:
            judge = partial(self.scorer.completion, turn, place, completion)
            return [Job(judge, partial(self._judged, sampling, place))]
        return self._group_if_complete(sampling)

    def stopped(self, turn: Turn, num_tokens: Sequence[int]) -> None:
        """Takes the lengths of the turn's completions that were stopped before their end."""
        self._sampling[_key(turn)].stopped_tokens += [length for length in num_tokens if length]

    # --- decisions ---

    def _begin(self, turns: list[Turn]) -> list[Turn]:
        self._sampling |= {_key(turn): _Sampling(turn) for turn in turns}
        return turns

    def _can_be_chosen(self, turn: Turn) -> bool:
        return turn.hint.level <= self.enough[turn.index]

    def _judged(self, sampling: _Sampling, place: int, accuracy: float) -> Orders:
        sampling.accuracy[place] = accuracy
        if not self._can_be_chosen(sampling.turn):
            return Orders()
        stop = self._decide(sampling.turn) if self.rule.succeeds([self.scorer.correct(accuracy)]) else ()
        return Orders(stop=stop, jobs=self._group_if_complete(sampling))

    def _group_if_complete(self, sampling: _Sampling) -> Sequence[Job]:
        known = sampling.accuracy if self.by_completion else sampling.ended
        if len(known) < self.num_generations:
            return ()
        places = range(self.num_generations)
        completions = [sampling.ended[place] for place in places]
        accuracy_G = [sampling.accuracy[place] for place in places] if self.by_completion else None
        return [Job(partial(self.scorer.group, sampling.turn, completions, accuracy_G), self._scored)]

    def _scored(self, group: Group) -> Orders:
        turn = group.turn
        groups, turns_H = self.groups[turn.index], self.turns_BH[turn.index]
        groups[turn.hint.level] = group
        if self.speculative:
            return Orders(stop=self._decide(turn) if self.rule(group) else ())
        if self.lazy and not self.rule(group):
            return Orders(sample=self._begin(list(turns_H[len(groups) : len(groups) + 1])))  # the next, if there is one
        return Orders()

    def _decide(self, turn: Turn) -> Sequence[Turn]:
        """This turn's level is enough: returns the prompt's turns that are to be stopped."""
        if turn.hint.level >= self.enough[turn.index]:
            return ()
        self.enough[turn.index] = turn.hint.level
        return [
            other
            for other in self.turns_BH[turn.index]
            if not self._can_be_chosen(other) and len(self._sampling[_key(other)].ended) < self.num_generations
        ]

    # --- the result ---

    def rollouts(self) -> list[Rollout]:
        """(B): the groups that lazy escalation would have sampled too (eager: all), and what else was sampled."""
        result = [Rollout() for _ in self.turns_BH]
        for sampling in self._sampling.values():
            turn, rollout = sampling.turn, result[sampling.turn.index]
            if self._can_be_chosen(turn):
                rollout.groups[turn.hint.level] = self.groups[turn.index][turn.hint.level]
            elif (discarded := sampling.discarded()).num_completions:
                rollout.discarded[turn.hint.level] = discarded
        for rollout in result:
            rollout.groups = dict(sorted(rollout.groups.items()))
            rollout.chosen = self.rule.choose(rollout.groups)
        return result


def _key(turn: Turn) -> tuple[int, int]:
    return turn.index, turn.hint.level


def roll_out(
    turns_BH: Sequence[Sequence[Turn]],
    backend: RolloutBackend,
    scorer: Scorer,
    *,
    num_generations: int,
    schedule: Schedule,
    rule: LevelRule = ACCURACY,
) -> list[Rollout]:
    """Samples each prompt's turns (lowest level first) until one group is enough by `rule`; returns B rollouts."""
    escalation = Escalation(turns_BH, scorer, num_generations=num_generations, schedule=schedule, rule=rule)
    with backend.ready():
        backend.run(escalation)
    return escalation.rollouts()
