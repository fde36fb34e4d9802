"""The paper's hints (section 3.2) and the policies of its ablations: adaptive, fixed, random, none.

The hint at level i of M is the first floor(L * i / M) of the L reasoning steps; a group that has no correct completion goes up
one level. A fixed hint is the first floor(alpha * L) steps, a random one draws alpha anew from [0, 1) for each prompt and step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hint_grpo.hints import HintLevel, hint_prefix, num_hint_steps, num_hint_steps_in_floats, num_steps_at_ratio
from hint_grpo.policies.base import NO_HINT, HintedSample, HintPolicy
from hint_grpo.policies.history import History


@dataclass(frozen=True)
class Adaptive(HintPolicy):
    """Levels 0..M-1, lowest first: the method.

    num_levels   M
    counts       exact: floor(L * i / M) | float: int(L * (i / M)), as in the released code
    equal_hints  skip: leave out levels whose hint equals that of the level below | sample: all M levels (released code)
    """

    num_levels: int = 3
    counts: Literal["exact", "float"] = "exact"
    equal_hints: Literal["skip", "sample"] = "skip"
    levels_of_steps = True

    def count(self, num_steps: int, level: int) -> int:
        """Steps given at a level, of `num_steps` in all."""
        count_at = num_hint_steps if self.counts == "exact" else num_hint_steps_in_floats
        return count_at(num_steps, level, self.num_levels)

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[HintLevel]:
        """Two levels with the same number of steps are the same prompt, so by default a sample with one step has only level 0."""
        counts = [self.count(sample.num_steps, level) for level in range(self.num_levels)]
        kept = [
            level
            for level, count in enumerate(counts)
            if self.equal_hints == "sample" or level == 0 or count > counts[level - 1]
        ]
        return tuple(HintLevel(level, counts[level], hint_prefix(sample.steps, counts[level])) for level in kept)


@dataclass(frozen=True)
class Fixed(HintPolicy):
    """Always floor(alpha * L) steps; alpha = `ratio` in [0, 1)."""

    ratio: float = 0.0
    levels_of_steps = True

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        return [num_steps_at_ratio(sample.num_steps, self.ratio)]


@dataclass(frozen=True)
class Random(HintPolicy):
    """floor(alpha * L) steps, with a new alpha from [0, 1) for every prompt and step."""

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        return [num_steps_at_ratio(sample.num_steps, sample.random().random())]

    def longest_levels(self, steps: Sequence[str]) -> tuple[HintLevel, ...]:
        count = num_steps_at_ratio(len(steps), 0.999999)
        return (HintLevel(0, count, hint_prefix(steps, count)),)


@dataclass(frozen=True)
class NoHints(HintPolicy):
    """Plain GRPO."""

    levels_of_steps = True

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[HintLevel]:
        return NO_HINT
