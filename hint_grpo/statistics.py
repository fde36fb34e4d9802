"""The two pieces of statistics behind the report: an interval for an accuracy, a paired test for two runs."""

from math import comb, sqrt
from statistics import NormalDist


def wilson_interval(num_correct: int, num_questions: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share (1927). Unlike p +- 1.96 * sqrt(p(1-p)/n) it stays in [0, 1].

    With p = k/n:  (p + z^2/2n +- z * sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). No question: nothing is known, (0, 1).
    """
    if num_questions == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    n = num_questions
    p = num_correct / n
    centre = p + z * z / (2 * n)
    margin = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At k = 0 and k = n a bound is 0 and 1 exactly; in floats it misses by 1e-17.
    return (centre - margin) / scale if num_correct else 0.0, (centre + margin) / scale if num_correct < n else 1.0


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test: the questions only one run got right, under a fair coin.

    p = min(1, 2 * sum_{k <= min(b, c)} C(b + c, k) / 2^(b + c)), in whole numbers up to the last division.
    """
    discordant = only_a + only_b
    tail = sum(comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**discordant)
