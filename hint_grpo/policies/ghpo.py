"""GHPO: an all-wrong group is redrawn with 25, 50 and then 75 % of the solution (arXiv 2507.10628, hkgc-1/GHPO).

    level 0: no hint;   level k = 1, 2, 3: round(k / 4 * L) steps, at most L - 1

A prompt keeps the first group with a correct completion. One that is never solved keeps the last, most hinted group: Hint-GRPO
goes back to the group without a hint. The hint stands in the question (recipe: --hint_injection query).

Source: the code at af0a7dd, src/ghpo/ghpo_trainer.py:813-833 and 996-1142, which rounds characters; `round` is kept for steps,
with one step left to the model (2 steps at 75 % would round to both). Its `start_hint_step` is `start`, as a share. In their
code the log-probabilities after a redraw are those of the prompt without the hint; here they are those of the sampled prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hint_grpo.policies.base import HintedSample, HintPolicy, round_steps
from hint_grpo.policies.history import History

RATIOS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class GHPO(HintPolicy):
    """`start`: the share of the training before which no hint is given."""

    start: float = 0.0
    num_levels = 1 + len(RATIOS)
    unsolved: Literal["lowest", "highest"] = "highest"
    levels_of_steps = True

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        if progress < self.start:
            return [0]
        most = max(sample.num_steps - 1, 0)
        return [0, *(min(round_steps(sample.num_steps, ratio), most) for ratio in RATIOS)]
