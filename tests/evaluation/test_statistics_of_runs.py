"""Wilson's interval and McNemar's exact test against numbers computed by hand or given in the literature."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hint_grpo.evaluation.results import mcnemar_exact, wilson_interval


def test_wilson_of_eight_in_ten() -> None:
    # z = 1.959964: (0.8 + 0.19207 -+ 1.959964 * sqrt(0.016 + 0.00960365)) / 1.38414588
    low, high = wilson_interval(8, 10)
    assert low == pytest.approx(0.490162, abs=1e-5)
    assert high == pytest.approx(0.943318, abs=1e-5)


def test_wilson_of_the_papers_size() -> None:
    low, high = wilson_interval(352, 754)  # 46.68 %
    assert low == pytest.approx(0.4315, abs=5e-4)
    assert high == pytest.approx(0.5025, abs=5e-4)


def test_wilson_without_questions_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_has_width_where_all_are_wrong() -> None:
    low, high = wilson_interval(0, 20)
    assert low == 0.0
    assert high == pytest.approx(0.161125, abs=1e-5)  # z^2 / (n + z^2)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    k, n = case
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1
    mirrored_low, mirrored_high = wilson_interval(n - k, n)
    assert (mirrored_low, mirrored_high) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (0, 1, 1.0), (0, 5, 2 / 32), (1, 7, 2 * 9 / 256), (3, 3, 1.0), (0, 10, 2 / 1024)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, rel=1e-12)
    assert mcnemar_exact(only_b, only_a) == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sum_of_outcomes_at_most_as_likely(only_a: int, only_b: int) -> None:
    """Another definition of the two-sided p-value; for a fair coin the two agree."""
    n = only_a + only_b
    likely = [k for k in range(n + 1) if comb(n, k) <= comb(n, only_a)]
    assert mcnemar_exact(only_a, only_b) == pytest.approx(
        float(Fraction(sum(comb(n, k) for k in likely), 2**n)), rel=1e-9
    )


def test_mcnemar_of_a_large_run_is_a_number() -> None:
    assert 0 < mcnemar_exact(1800, 2200) < 1e-9
