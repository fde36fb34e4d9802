"""Hint levels, hint prefixes and the choice of level (paper section 3.2). Pure functions, no torch.

Letters: H hint levels (`num_levels`, the paper's M), L reasoning steps of a sample, G completions per group.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


def num_hint_steps(num_steps: int, level: int, num_levels: int) -> int:
    """floor(L * i / M) in integers: a float ratio would give int(55 * (3 / 11)) = 14 instead of 15."""
    if not 0 <= level < num_levels:
        raise ValueError(f"level {level} is not one of 0..{num_levels - 1}")
    return num_steps * level // num_levels


def num_hint_steps_in_floats(num_steps: int, level: int, num_levels: int) -> int:
    """int(L * (i / M)), as the authors' released code counts: one less than floor(L * i / M) where rounding falls short.

    The first such case is L = 90 at level 7 of M = 10; up to M = 9 no reasoning of 120 steps or less differs.
    """
    return int(num_steps * (level / num_levels))


def num_steps_at_ratio(num_steps: int, ratio: float) -> int:
    """floor(L * alpha) for a ratio a user wrote in decimals (fixed and random alpha); exact for 0.29 * 100 = 29."""
    if not 0 <= ratio < 1:
        raise ValueError(f"hint ratio {ratio} is not in [0, 1)")
    return int(num_steps * Fraction(str(ratio)))


def hint_prefix(steps: Sequence[str], count: int) -> str:
    """The first `count` steps, joined by one space; "" for none."""
    return " ".join(steps[:count])


def hint_at_level(steps: Sequence[str], level: int, num_levels: int) -> str:
    """The hint of a level: "" at level 0, and at every level of a sample with a single step (L * i // M is 0)."""
    return hint_prefix(steps, num_hint_steps(len(steps), level, num_levels))


def has_correct(accuracy_G: Sequence[float]) -> bool:
    """Whether a group has a correct completion: the paper's rule for the level that is trained on."""
    return any(accuracy == 1.0 for accuracy in accuracy_G)


def sum_above_zero(rewards_G: Sequence[float]) -> bool:
    """Whether a group's rewards sum to more than 0: the authors' released rule, by which a format reward can decide.

    `rewards_G` are weighted sums over the reward functions; NaN, where no function gave one, is left out.
    """
    return sum(reward for reward in rewards_G if not math.isnan(reward)) > 0


def chosen_level(
    values_HG: Sequence[Sequence[float] | None], succeeds: Callable[[Sequence[float]], bool] = has_correct
) -> int:
    """The lowest level whose group succeeds; level 0 where none does.

    `values_HG[h]` holds what `succeeds` looks at, of the whole group at level h; None where the level was not sampled.
    """
    for level, values_G in enumerate(values_HG):
        if values_G is not None and succeeds(values_G):
            return level
    return 0


@dataclass(frozen=True, slots=True)
class HintLevel:
    """One level of one sample: `num_steps` of its reasoning steps are given, which read `text`."""

    level: int
    num_steps: int
    text: str


@dataclass(frozen=True, slots=True)
class HintPolicy:
    """How much of a reasoning is given (the paper's ablations).

    kind         adaptive: levels 0..M-1, lowest first | fixed: always `ratio` | random: a new ratio each time | none
    counts       exact: floor(L * i / M) | float: the released code's int(L * (i / M))
    equal_hints  skip: no level that gives the very hint of the one below it | sample: all M levels (the released code)
    """

    kind: Literal["adaptive", "fixed", "random", "none"] = "adaptive"
    num_levels: int = 3
    ratio: float = 0.0
    counts: Literal["exact", "float"] = "exact"
    equal_hints: Literal["skip", "sample"] = "skip"

    def count(self, num_steps: int, level: int) -> int:
        """Steps given at a level of adaptive hints."""
        count_at = num_hint_steps if self.counts == "exact" else num_hint_steps_in_floats
        return count_at(num_steps, level, self.num_levels)

    def levels(self, steps: Sequence[str], *, key: str) -> tuple[HintLevel, ...]:
        """The levels to try for a sample, lowest first; `key` seeds the random ratio (run, step and sample).

        Sampling the same prompt again is not a higher level, so by default a sample with one step has level 0 alone.
        """
        if self.kind == "adaptive":
            counts = [self.count(len(steps), level) for level in range(self.num_levels)]
            kept = [
                level
                for level, count in enumerate(counts)
                if self.equal_hints == "sample" or level == 0 or count > counts[level - 1]
            ]
            return tuple(HintLevel(level, counts[level], hint_prefix(steps, counts[level])) for level in kept)
        ratio = {"none": 0.0, "fixed": self.ratio, "random": random.Random(key).random()}[self.kind]
        count = num_steps_at_ratio(len(steps), ratio)
        return (HintLevel(0, count, hint_prefix(steps, count)),)

    def longest_levels(self, steps: Sequence[str]) -> tuple[HintLevel, ...]:
        """The levels to try for a sample; of a ratio drawn anew each time, the longest hint that can be drawn."""
        if self.kind == "random":
            return HintPolicy("fixed", 1, 0.999999).levels(steps, key="")
        return self.levels(steps, key="")

    def gives_hints(self, num_steps: int) -> bool:
        """Whether a sample with so many steps gets a hint at any level."""
        return any(level.num_steps > 0 for level in self.longest_levels([""] * num_steps))
