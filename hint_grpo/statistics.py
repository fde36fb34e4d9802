"""The statistics of the report: a confidence interval for an accuracy, and a paired test for two runs."""

from math import comb, sqrt
from statistics import NormalDist


def wilson_interval(num_correct: int, num_questions: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for the share k of n, as (low, high). Unlike p +- 1.96 * sqrt(p(1-p)/n) it stays in [0, 1].

    With p = k/n:  (p + z^2/2n +- z * sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Without questions nothing is known: (0, 1).
    """
    if num_questions == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    n = num_questions
    p = num_correct / n
    centre = p + z * z / (2 * n)
    margin = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At k = 0 the lower bound is exactly 0, and at k = n the upper one exactly 1; floats would be off by 1e-17.
    return (centre - margin) / scale if num_correct else 0.0, (centre + margin) / scale if num_correct < n else 1.0


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test on the numbers of questions that only run a and only run b answered correctly.

    p = min(1, 2 * sum_{k <= min(b, c)} C(b + c, k) / 2^(b + c)), in whole numbers until the last division: under the null
    hypothesis each such question is a fair coin.
    """
    discordant = only_a + only_b
    tail = sum(comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**discordant)
