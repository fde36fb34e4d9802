"""TRAPO: a group in four rounds, each with a longer hint if too few completions so far are correct (OpenReview oXlSEcxD6N).

Of 8 completions:  4 without a hint
                   2 with 25 %    if fewer than 1/2 of those so far are correct
                   1 with 50 %    if fewer than 2/3 (4 of 6)
                   1 with 100 %   if fewer than all (7 of 7)

A round whose condition does not hold is sampled without a hint. All completions share one mean, without a division by the
standard deviation (recipe: --scale_rewards none).

Source: Su-my/TRAPO at 982cb8f, luffy/verl/verl/trapo_src/mix_trainer.py:455-525. There the hint is cut at a blank line, here at
a step (floor). In the original the last round is not sampled: it is a second teacher's whole trace, answer included; here the
model writes the answer behind the whole reasoning. Its policy term on the hint's tokens, weighted by p / max(p, 0.1), is left
out; --hint_loss_weight is the nearest thing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hint_grpo.policies.base import HintedSample, HintPolicy, floor_steps
from hint_grpo.policies.history import History

# By round: the hint ratio, and the share of correct completions so far below which the hint is given.
ROUNDS = ((0.0, 0.0), (0.25, 1 / 2), (0.5, 2 / 3), (1.0, 1.0))


@dataclass(frozen=True)
class TRAPO(HintPolicy):
    """No settings: the constants are those of the source."""

    def sizes(self, num_generations: int) -> tuple[int, ...]:
        """4, 2, 1, 1 of 8; of other G a quarter, an eighth and an eighth, rounded down but at least 1."""
        second, last = max(num_generations // 4, 1), max(num_generations // 8, 1)
        return num_generations - second - 2 * last, second, last, last

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        sampled = sum(len(tried.accuracy_G) for tried in history.group)
        correct = sum(tried.num_correct for tried in history.group)
        ratio, below = ROUNDS[len(history.group)]
        # In whole numbers: 4 of 6 are not below 2/3.
        return [floor_steps(sample.num_steps, ratio) if sampled and correct < below * sampled else 0]
