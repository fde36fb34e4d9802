"""SEELE: every round of a group gets the hint with which half of its completions should be correct (arXiv 2509.06923).

A group has 4 rounds. A curve is fitted to the outcomes of the rounds so far, and the next hint is where it crosses 1/2:

    f(p) = b + (1 - b) / (1 + exp(-k * (p + mu)))      accuracy at the hint ratio p (the three-parameter logistic model)
    p    = f^-1(1/2) = -mu - ln((1 - b) / (1/2 - b) - 1) / k;   the hint is round(p * L) steps

The fit is by least squares over the mean accuracy at each ratio; (0, 0) and (1, 1) are added while nothing was sampled there.
Round 1 gives all steps but one the first time, and the last predicted hint in later epochs. All completions share one mean,
without a division by the standard deviation (recipe: --scale_rewards none).

Source: the paper's text; its code was not read. It does not say whether |y| counts tokens or steps (here: steps), nor which
earlier outcomes enter a fit (here: those of the same group). It adds 0.001 times an imitation term on the hint, given as the
probability, not its logarithm: --hint_loss_weight 0.001 adds the negative log-likelihood.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hint_grpo.policies.base import HintedSample, HintPolicy, round_steps
from hint_grpo.policies.history import History, Tried


@dataclass(frozen=True)
class SEELE(HintPolicy):
    """`rounds`: of a group. `target`: the share of correct completions to aim at."""

    rounds: int = 4
    target: float = 0.5
    uses_history = True

    def sizes(self, num_generations: int) -> tuple[int, ...]:
        """As equal as possible, larger ones first: 8 of 32 each; 2, 2, 1, 1 of 6."""
        return tuple((num_generations + self.rounds - 1 - place) // self.rounds for place in range(self.rounds))

    def levels(self, sample: HintedSample, progress: float, history: History) -> Sequence[int]:
        num_steps = sample.num_steps
        if history.group:
            ratio = fitted(points_of(history.group, num_steps)).inverse(self.target) if num_steps else 0.0
            return [min(max(round_steps(num_steps, ratio), 0), num_steps)]
        if history.visits:
            return [min(history.visits[-1].tried[-1].num_steps, num_steps)]
        return [max(num_steps - 1, 0)]


class Curve(NamedTuple):
    """The parameters of f."""

    b: float
    k: float
    mu: float

    def __call__(self, p: float) -> float:
        return self.b + (1 - self.b) * logistic(self.k * (p + self.mu))

    def inverse(self, accuracy: float) -> float:
        """The ratio with this accuracy, within 0 and 1; 0 if the curve is above it everywhere."""
        if self.b >= accuracy:
            return 0.0
        p = -self.mu - math.log((1 - self.b) / (accuracy - self.b) - 1) / self.k
        return min(max(p, 0.0), 1.0)


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), without an overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


Point = tuple[float, float]
"""(hint ratio, mean accuracy)."""


def points_of(group: Iterable[Tried], num_steps: int) -> tuple[Point, ...]:
    """One point for each ratio that was sampled, its repeats averaged; (0, 0) and (1, 1) where nothing was."""
    outcomes: dict[float, list[float]] = {}
    for tried in group:
        outcomes.setdefault(tried.num_steps / num_steps, []).append(tried.share_correct)
    means = {ratio: sum(values) / len(values) for ratio, values in outcomes.items()}
    return tuple(sorted(({0.0: 0.0, 1.0: 1.0} | means).items()))


# The region searched: k by factors, mu so that the middle of the curve lies within half a solution of [0, 1].
K_LOW, K_HIGH, MU_LOW, MU_HIGH = 1.0, 64.0, -1.5, 0.5
GRID, FINE_GRID, REFINEMENTS = (25, 65), (9, 9), 12


@lru_cache(maxsize=65536)  # outcomes of small groups repeat themselves
def fitted(points: tuple[Point, ...]) -> Curve:
    """The curve with the least sum of squared errors: a grid over k and mu, refined around its best point; b in closed form."""
    low, high, size = (math.log(K_LOW), MU_LOW), (math.log(K_HIGH), MU_HIGH), GRID
    best = (math.inf, Curve(0.0, 1.0, 0.0))
    for _ in range(1 + REFINEMENTS):
        steps = [(upper - lower) / (n - 1) for lower, upper, n in zip(low, high, size, strict=True)]
        grid = [(low[0] + i * steps[0], low[1] + j * steps[1]) for i in range(size[0]) for j in range(size[1])]
        best = min([best, *(_with_best_b(math.exp(log_k), mu, points) for log_k, mu in grid)], key=lambda one: one[0])
        # Two steps to each side: a narrow valley may run beside the best point.
        log_k, mu = math.log(best[1].k), best[1].mu
        low, high = (log_k - 2 * steps[0], mu - 2 * steps[1]), (log_k + 2 * steps[0], mu + 2 * steps[1])
        size = FINE_GRID
    return best[1]


def _with_best_b(k: float, mu: float, points: Sequence[Point]) -> tuple[float, Curve]:
    """(sum of squared errors, curve) with the best b for k and mu: f = s + b (1 - s) is linear in b, which is in [0, 1)."""
    s = [logistic(k * (p + mu)) for p, _ in points]
    squares = sum((1 - one) ** 2 for one in s)
    b = (
        sum((1 - one) * (accuracy - one) for one, (_, accuracy) in zip(s, points, strict=True)) / squares
        if squares
        else 0.0
    )
    curve = Curve(min(max(b, 0.0), 0.99), k, mu)
    return sum((curve(p) - accuracy) ** 2 for p, accuracy in points), curve
