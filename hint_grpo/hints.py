"""Hint levels, hint prefixes and the choice of level (paper section 3.2). Pure functions, no torch.

Letters: H hint levels (`num_levels`, the paper's M), L reasoning steps of a sample, G completions per group.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


def num_hint_steps(num_steps: int, level: int, num_levels: int) -> int:
    """floor(L * i / M) in integers: a float ratio would give int(55 * (3 / 11)) = 14 instead of 15."""
    if not 0 <= level < num_levels:
        raise ValueError(f"level {level} is not one of 0..{num_levels - 1}")
    return num_steps * level // num_levels


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


def chosen_level(accuracy_HG: Sequence[Sequence[float] | None]) -> int:
    """The lowest level with at least one correct completion; level 0 where no level has one.

    `accuracy_HG[h]` holds the accuracy rewards of the whole group at level h; None where the level was not sampled.
    """
    for level, accuracy_G in enumerate(accuracy_HG):
        if accuracy_G is not None and any(accuracy == 1.0 for accuracy in accuracy_G):
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

    kind      adaptive: levels 0..M-1, lowest first | fixed: always `ratio` | random: a new ratio each time | none
    """

    kind: Literal["adaptive", "fixed", "random", "none"] = "adaptive"
    num_levels: int = 3
    ratio: float = 0.0

    def levels(self, steps: Sequence[str], *, key: str) -> tuple[HintLevel, ...]:
        """The levels to try for a sample, lowest first; `key` seeds the random ratio (run, step and sample).

        A level that would give the very hint of the one below it is left out: sampling the same prompt again is not a
        higher level. So a sample with one step has level 0 alone.
        """
        if self.kind == "adaptive":
            counts = [num_hint_steps(len(steps), level, self.num_levels) for level in range(self.num_levels)]
            kept = [level for level, count in enumerate(counts) if level == 0 or count > counts[level - 1]]
            return tuple(HintLevel(level, counts[level], hint_prefix(steps, counts[level])) for level in kept)
        ratio = {"none": 0.0, "fixed": self.ratio, "random": random.Random(key).random()}[self.kind]
        count = num_steps_at_ratio(len(steps), ratio)
        return (HintLevel(0, count, hint_prefix(steps, count)),)
