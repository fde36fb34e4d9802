"""Statistics over seeds: means with t intervals, and an exact paired test."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import sqrt
from statistics import mean, stdev

from mpmath import betainc

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with its 95 % interval; with one value the interval is unknown, and both ends are the mean."""

    mean: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        digits = 3 if abs(self.mean) < 10 else 0  # shares, or counts of tokens
        ends = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]" if self.num > 1 else ""
        return f"{self.mean:.{digits}f}{ends}"


@cache
def t_quantile(degrees: int, level: float = LEVEL) -> float:
    """The t with P(|T| <= t) = `level` for Student's distribution with `degrees` degrees of freedom."""
    low, high = 0.0, 1000.0
    for _ in range(60):  # bisection, down to 1e-15
        t = (low + high) / 2
        # P(|T| <= t) = 1 - I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2).
        inside = 1 - betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True)
        low, high = (t, high) if inside < level else (low, t)
    return low


def interval(values: Sequence[float]) -> Interval:
    """The mean of at least one value, and the t interval of the mean."""
    centre = mean(values)
    half = t_quantile(len(values) - 1) * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
    return Interval(centre, centre - half, centre + half, len(values))


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p of the exact paired permutation test: how often random signs give a sum as far from zero.

    The smallest p that n pairs can give is 2 / 2^n: .0625 for five seeds, .002 for ten.
    """
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed - 1e-12 for value in sums) / len(sums)
