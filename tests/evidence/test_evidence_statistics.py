"""Intervals and the paired test, against numbers from tables and by hand."""

from itertools import pairwise

import pytest

from eval.evidence.statistics import interval, sign_flip_test, t_quantile


@pytest.mark.parametrize(("degrees", "expected"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (30, 2.0423)])
def test_quantiles_are_those_of_printed_tables(degrees, expected):
    assert t_quantile(degrees) == pytest.approx(expected, abs=5e-5)


def test_interval_by_hand():
    # mean 0.2, standard deviation 0.1, standard error 0.1 / sqrt(3) = 0.057735, times 4.3027
    found = interval([0.1, 0.2, 0.3])
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - 0.248416, 0.2 + 0.248416), abs=1e-5)
    assert str(found) == "0.200 [-0.048, 0.448]"


def test_one_value_has_no_interval():
    assert str(interval([0.5])) == "0.500"


def test_more_seeds_give_a_narrower_interval():
    widths = [interval([0.4, 0.6] * n).high - interval([0.4, 0.6] * n).low for n in range(1, 6)]
    assert all(wide > narrow for wide, narrow in pairwise(widths))


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1, 2, 3, 4, 5], 2 / 32),  # only all plus and all minus are as far from zero
        ([1.0] * 10, 2 / 1024),
        ([1, -1], 1.0),
        ([3, -1], 1.0),  # |3 - 1| = 2, and every one of |+-3 +-1| is at least 2
        ([3, 2, -1], 0.5),  # |sum| = 4: of the eight sums +-6, +-4, +-2, +-0 the first two pairs
        ([0.0, 0.0], 1.0),
    ],
)
def test_sign_flips_by_hand(differences, expected):
    assert sign_flip_test(differences) == pytest.approx(expected)
