"""QuestA: half of the solution for every prompt, later a quarter (arXiv 2507.13266, foreverlasting1202/QuestA).

    hint = the first int(r * L) steps;   r = 0.5 for the first share `switch` of the training, then 0.25

Every prompt is hinted in both stages. The original trains twice on data with the hint written into the question (recipe:
--hint_injection query), the second time from the first run's weights; here the stages are one run.

Source: the code at 3c7be00, AReaL/datasets/add_prefix.py:5-42 (which cuts characters, not steps). The stages' lengths, 100 and
1,900 steps, are from a third party's summary, hence `switch` = 0.05. Not done here: their data (prompts that a weak model
rarely solves) and their rejection of all-wrong and all-right groups (--keep_sampling does the latter).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hint_grpo.hints import HintLevel, hint_prefix
from hint_grpo.policies.base import HintedSample, HintPolicy, floor_steps
from hint_grpo.policies.history import History


@dataclass(frozen=True)
class QuestA(HintPolicy):
    """`first`, `second`: the ratios of the stages. `switch`: the share of the training after which the second begins."""

    first: float = 0.5
    second: float = 0.25
    switch: float = 0.05

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        return [floor_steps(sample.num_steps, self.first if progress < self.switch else self.second)]

    def longest_levels(self, steps: Sequence[str]) -> tuple[HintLevel, ...]:
        count = floor_steps(len(steps), max(self.first, self.second))
        return (HintLevel(0, count, hint_prefix(steps, count)),)
