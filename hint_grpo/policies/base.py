"""What a hint policy is: its inputs, its result, and the check of both.

A policy answers one question, with pure arithmetic: how many reasoning steps does this prompt get now? Two kinds:

escalating    `levels` gives the levels to try, lowest first; the next one is sampled if none so far is enough (--level_rule),
              and one of them is trained on. A policy that gives a single level is the simplest case.
mixing        `sizes` splits the group into rounds, and `levels` gives one level for each round, knowing how the earlier rounds
              went (`history.group`). All completions of the group are trained on together.

Both get the same three arguments, so that one function of 15 lines is a policy (docs/your_own.md).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from hint_grpo.hints import HintLevel, hint_prefix
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.history import NOTHING, History


@dataclass(frozen=True, slots=True)
class HintedSample:
    """What a policy sees of a sample. `columns` are the data's, extra fields of a JSONL file included."""

    id: str
    steps: Sequence[str]
    key: str = ""
    """Run, step and sample: the same key gives the same random numbers, so that a step can be repeated after a resume."""
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        return len(self.steps)

    def random(self) -> random.Random:
        """A new generator of random numbers, seeded by `key`."""
        return random.Random(self.key)


class HintPolicy:
    """The class to derive from. `levels` is all that a policy must define."""

    num_levels: int = 1
    """The most levels that `levels` gives (M of adaptive hints)."""
    unsolved: Literal["lowest", "highest"] = "lowest"
    """Which of the levels is trained on if none of them is enough."""
    levels_of_steps: bool = False
    """Whether the levels follow from the number of steps alone: no randomness, no progress, no history."""
    uses_history: bool = False
    """Whether `levels` looks at `history.visits` or `history.accuracies`; they are empty for other policies."""

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int | HintLevel]:
        """The numbers of steps to try for a sample, lowest first.

        `progress` is the share of the training that is done, 0 at its first step, below 1. `history` is what is known of this
        sample and of the last steps (hint_grpo.policies.history).
        """
        raise NotImplementedError

    def sizes(self, num_generations: int) -> tuple[int, ...] | None:
        """For mixing policies: how many of the G completions each round samples. None: all G have the same hint."""
        return None

    def longest_levels(self, steps: Sequence[str]) -> tuple[HintLevel, ...]:
        """The longest hints that a sample can get, for checks of length before a run: the whole reasoning, if in doubt."""
        if self.levels_of_steps:
            return levels_of(self, HintedSample("", steps), 1.0, NOTHING)
        return (HintLevel(0, 0, ""), HintLevel(1, len(steps), hint_prefix(steps, len(steps)))) if steps else NO_HINT

    def gives_hints(self, num_steps: int) -> bool:
        """Whether a sample with that many reasoning steps can get a hint."""
        return any(level.num_steps > 0 for level in self.longest_levels([""] * num_steps))


NO_HINT = (HintLevel(0, 0, ""),)


class FunctionPolicy(HintPolicy):
    """A function `(sample, progress, history) -> numbers of steps`, or an object with such a method `levels`, as a policy."""

    def __init__(self, given: Callable[..., Any] | Any) -> None:
        self.given = given
        self.function = given.levels if hasattr(given, "levels") else given
        self.unsolved = getattr(given, "unsolved", "lowest")
        self.num_levels = getattr(given, "num_levels", 1)
        self.uses_history = getattr(given, "uses_history", True)

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int | HintLevel]:
        return self.function(sample, progress, history)

    def sizes(self, num_generations: int) -> tuple[int, ...] | None:
        return self.given.sizes(num_generations) if hasattr(self.given, "sizes") else None


def levels_of(policy: HintPolicy, sample: HintedSample, progress: float, history: History) -> tuple[HintLevel, ...]:
    """A policy's levels for a sample, as HintLevels numbered from 0; a number that repeats the one before is left out.

    Raises UserError for a result that is not one or more numbers of steps, lowest first, from 0 to the number of steps.
    """
    given = policy.levels(sample, progress, history)
    if isinstance(given, int) or not isinstance(given, Sequence) or not given:
        raise _mistake(policy, f"it gives {given!r:.60}: give a list of numbers of steps, such as [0, 2]")
    levels: list[HintLevel] = []
    for one in given:
        if isinstance(one, HintLevel):
            levels.append(one)
            continue
        if not isinstance(one, int) or not 0 <= one <= sample.num_steps:
            raise _mistake(
                policy, f"it gives {one!r:.60}: give whole numbers from 0 to {sample.num_steps}, the sample's steps"
            )
        if levels and one < levels[-1].num_steps:
            raise _mistake(policy, f"it gives {list(given)!r:.60}: give the lowest number of steps first")
        if not levels or one > levels[-1].num_steps:
            levels.append(HintLevel(len(levels), one, hint_prefix(sample.steps, one)))
    return tuple(levels)


def sizes_of(policy: HintPolicy, num_generations: int) -> tuple[int, ...] | None:
    """A policy's `sizes`, checked: numbers of 1 or more that add up to G. Raises UserError."""
    sizes = policy.sizes(num_generations)
    if sizes is None:
        return None
    if not sizes or min(sizes) < 1 or sum(sizes) != num_generations:
        raise _mistake(
            policy,
            f"it splits --num_generations {num_generations} into {', '.join(map(str, sizes))}: give another number",
        )
    return tuple(sizes)


def _mistake(policy: HintPolicy, text: str) -> UserError:
    given = policy.given if isinstance(policy, FunctionPolicy) else policy
    return UserError(f"--hint_policy {getattr(given, '__name__', type(given).__name__)}: {text}")


# ----------------------------------------------------------------------------------------------------
# Arithmetic that several policies share. Exact, so that 0.29 of 100 steps are 29, not int(28.999...) = 28.


def floor_steps(num_steps: int, ratio: float) -> int:
    """floor(L * ratio), for a ratio from 0 to 1."""
    return int(num_steps * Fraction(str(ratio)))


def round_steps(num_steps: int, ratio: float) -> int:
    """L * ratio to the nearest whole number; a half to the even one, as Python's round."""
    return round(num_steps * Fraction(str(ratio)))
