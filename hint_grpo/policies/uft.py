"""UFT: a random number of hint buckets, fewer on average as the training goes on (arXiv 2505.16984, liumy2010/UFT).

    p(t) = 0.05 + 0.45 * (1 + cos(pi * t / T_hint))     for t < T_hint = 0.6 T, afterwards no hint
    l ~ Binomial(K, p(t)),  K = min(5, L)               the hint is the first l of K buckets: round(l * L / K) steps

Every prompt gets a hint, drawn once for its whole group. At the start all buckets are given with probability 0.95^5 = 0.77:
then the whole reasoning is shown, and only the answer is left to the model.

Source: the code at ad3c8ec, verl/utils/dataset/rl_dataset.py:138-161. Their T_hint is 300 of T = 500 steps, and t counts from
1 (here from 0). Their buckets are of sentences, put behind the prompt. UFT also adds 0.001 times the hint's negative
log-likelihood to the loss: --hint_loss_weight 0.001, as in eval/recipes/uft.yaml.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from hint_grpo.policies.base import HintedSample, HintPolicy
from hint_grpo.policies.history import History


@dataclass(frozen=True)
class UFT(HintPolicy):
    """`until`: T_hint / T. `buckets`: the largest K. `low`, `high`: p at the end and at the start."""

    until: float = 0.6
    buckets: int = 5
    low: float = 0.05
    high: float = 0.95

    def probability(self, progress: float) -> float:
        """p(t), the probability of each bucket to be given; 0 once the hints have ended."""
        if progress >= self.until:
            return 0.0
        return self.low + (self.high - self.low) / 2 * (1 + math.cos(math.pi * progress / self.until))

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        num_buckets = min(self.buckets, sample.num_steps)
        probability, random = self.probability(progress), sample.random()
        given = sum(random.random() < probability for _ in range(num_buckets))
        return [round(Fraction(given * sample.num_steps, max(num_buckets, 1)))]
