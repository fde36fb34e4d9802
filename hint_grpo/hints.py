"""Adaptive hints (paper section 3.2): how many reasoning steps each level gives, which levels fit, and which one is trained on.

Pure functions without torch. data/llava_cot.py cuts a reasoning into steps, hint_grpo/policies decides how many of them a
prompt gets; the levels are prompted by rollout/prompting.py and escalated one after the other by rollout/escalation.py.

Letters: M hint levels (`num_levels`; H in the names of lists), L reasoning steps of a sample, G completions per group.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

# ----------------------------------------------------------------------------------------------------
# Steps given at a level.


def num_hint_steps(num_steps: int, level: int, num_levels: int) -> int:
    """Steps given at level i of M: floor(L * i / M) (paper section 3.2); raises ValueError if i is not in 0..M-1.

    Computed in integers: a float ratio would give int(55 * (3 / 11)) = 14 instead of 15.
    """
    if not 0 <= level < num_levels:
        raise ValueError(f"level {level} is not one of 0..{num_levels - 1}")
    return num_steps * level // num_levels


def num_hint_steps_in_floats(num_steps: int, level: int, num_levels: int) -> int:
    """int(L * (i / M)), as in the authors' released code; rounding can make it one less than floor(L * i / M).

    The first such case is L = 90 at level 7 of M = 10; up to M = 9 no reasoning of 120 steps or fewer differs.
    """
    return int(num_steps * (level / num_levels))


def num_steps_at_ratio(num_steps: int, ratio: float) -> int:
    """floor(L * alpha) for a ratio alpha in [0, 1) (fixed and random hints); raises ValueError outside of it.

    Exact for ratios written in decimals: 0.29 of 100 steps are 29, not int(28.999...) = 28.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"hint ratio {ratio} is not in [0, 1)")
    return int(num_steps * Fraction(str(ratio)))


def hint_prefix(steps: Sequence[str], count: int) -> str:
    """The first `count` steps, joined by one space; "" for none."""
    return " ".join(steps[:count])


def hint_at_level(steps: Sequence[str], level: int, num_levels: int) -> str:
    """The hint of a level: "" at level 0, and at every level of a sample with a single step (floor(i / M) is 0)."""
    return hint_prefix(steps, num_hint_steps(len(steps), level, num_levels))


# ----------------------------------------------------------------------------------------------------
# The level that is trained on.


def has_correct(accuracy_G: Sequence[float]) -> bool:
    """Whether any of a group's G completions is correct (accuracy 1.0): the paper's rule for the level to train on."""
    return any(accuracy == 1.0 for accuracy in accuracy_G)


def sum_above_zero(rewards_G: Sequence[float]) -> bool:
    """Whether a group's rewards sum to more than 0: the rule of the released code, where a format reward can decide.

    `rewards_G` are weighted sums over the reward functions; NaN (no function gave a reward) is left out.
    """
    return sum(reward for reward in rewards_G if not math.isnan(reward)) > 0


def chosen_level(
    values_HG: Sequence[Sequence[float] | None], succeeds: Callable[[Sequence[float]], bool] = has_correct
) -> int:
    """The lowest level whose group succeeds; level 0 if none does.

    `values_HG[h]` holds the values of the group at level h that `succeeds` judges; None if the level was not sampled.
    """
    for level, values_G in enumerate(values_HG):
        if values_G is not None and succeeds(values_G):
            return level
    return 0


# ----------------------------------------------------------------------------------------------------
# A level of a sample. hint_grpo.policies decides which levels a sample has.


@dataclass(frozen=True, slots=True)
class HintLevel:
    """One level of one sample: its first `num_steps` reasoning steps are given, joined to `text`."""

    level: int
    num_steps: int
    text: str


# ----------------------------------------------------------------------------------------------------
# Which prompts and hint levels fit: their length in tokens against the run's limits and the model's context.
#
# One rule for the check before a run (preflight.py, preflight_report.py), training (rollout/prompting.py) and evaluation.


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Limits in tokens. None: no limit."""

    max_prompt_length: int | None
    max_completion_length: int
    context_length: int | None

    def prompt_problem(self, prompt_tokens: int) -> str | None:
        """Why a prompt (with its image, without a hint) is too long to be used; None if it is not. It is never truncated."""
        if self.max_prompt_length is not None and prompt_tokens > self.max_prompt_length:
            return f"prompt is longer than --max_prompt_length {self.max_prompt_length}"
        return None

    def prompt_fits(self, prompt_tokens: int, begun_tokens: int = 0) -> bool:
        """Whether the prompt, the begun turn (`<think>` and the hint) and a full-length completion fit the context.

        A hint level that does not fit is skipped and counted; if level 0 does not fit, the sample is.
        """
        total = prompt_tokens + begun_tokens + self.max_completion_length
        return self.context_length is None or total <= self.context_length

    def fitting_levels(
        self, plain_tokens: int, levels: Mapping[int, tuple[int, int]]
    ) -> tuple[tuple[int, ...], str | None]:
        """(the hint levels of a sample that fit, why the sample cannot be used at all or None).

        `plain_tokens` is the prompt without a hint; `levels` holds (prompt tokens, begun tokens) by level. Both training and
        the check before it use this function.
        """
        if problem := self.prompt_problem(plain_tokens):
            return (), f"{problem} ({plain_tokens} tokens)"
        fitting = tuple(level for level, (prompt, begun) in levels.items() if self.prompt_fits(prompt, begun))
        lowest = min(levels)
        if lowest not in fitting:
            tokens = sum(levels[lowest])
            return (), f"prompt and completion do not fit the context of {self.context_length} ({tokens} tokens)"
        return fitting, None
