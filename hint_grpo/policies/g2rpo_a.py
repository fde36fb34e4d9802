"""G2RPO-A: a few completions of every group are guided, with one length for all, which follows the rewards (arXiv 2508.13023).

Of every 12 completions 2 are guided. Training steps are taken in threes; a is the mean accuracy of the first two, b that of
the third. If both are above 0:

    l <- min(l * a / b, 1)       if b < a: more guidance
    l <- max(l * a / b, floor)   if b > a: less

l is the share of the reasoning that guided completions get, 1 at the start; their hint has floor(l * L) steps, at least one.
All completions of the group share one mean and one standard deviation.

Source: T-Lab-CUHKSZ/G2RPO-A at 0d98af8, src/G2RPO-A/trainer/g2rpoa_trainer.py:289, 623-709, 788-794, 961-990. There l counts
tokens of a teacher's trace, 3,072 at the start and at most, int(l * a / b) but at least 1 downwards. Their code also puts the
guidance into the policy loss, with the group's advantage; a third party reports that the released entry script does not.
Negative advantages on given text are unsafe, so it is left out of the loss here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hint_grpo.policies.base import HintedSample, HintPolicy
from hint_grpo.policies.history import History


@dataclass(frozen=True)
class G2RPOA(HintPolicy):
    """`start`: l at the first step. `floor`: its lower bound. `guided`: the share of a group's completions that are guided."""

    start: float = 1.0
    floor: float = 0.0
    guided: float = 1 / 6
    uses_history = True

    def sizes(self, num_generations: int) -> tuple[int, ...]:
        """The completions without guidance, then those with it: 2 of 12, 1 of 4."""
        num_guided = min(max(round(self.guided * num_generations), 1), num_generations - 1)
        return num_generations - num_guided, num_guided

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        if not history.group:
            return [0]
        length = guidance_length(history.accuracies, self.start, self.floor)
        return [max(int(length * sample.num_steps), min(1, sample.num_steps))]


def guidance_length(accuracies: Sequence[float], start: float, floor: float) -> float:
    """l after the steps with these mean accuracies."""
    length = start
    for place in range(0, len(accuracies) - 2, 3):
        a = (accuracies[place] + accuracies[place + 1]) / 2
        b = accuracies[place + 2]
        if a > 0 and b > 0:  # False for NaN too
            length = min(length * a / b, 1.0) if b < a else max(length * a / b, floor)
    return length
