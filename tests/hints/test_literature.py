"""The policies of other papers, against numbers computed by hand from their equations."""

import math
import random

import pytest

from hint_grpo.policies.base import HintedSample, levels_of, sizes_of
from hint_grpo.policies.g2rpo_a import G2RPOA, guidance_length
from hint_grpo.policies.ghpo import GHPO
from hint_grpo.policies.history import NOTHING, History, Tried, Visit
from hint_grpo.policies.questa import QuestA
from hint_grpo.policies.seele import SEELE, Curve, fitted, points_of
from hint_grpo.policies.trapo import TRAPO
from hint_grpo.policies.uft import UFT

STEPS = [f"{place}." for place in range(10)]


def counts(policy, num_steps, *, progress=0.0, history=NOTHING, key=""):
    sample = HintedSample("a", STEPS[:num_steps], key)
    return [level.num_steps for level in levels_of(policy, sample, progress, history)]


def group(*rounds):
    """A history of rounds (number of steps, accuracies)."""
    return History(group=tuple(Tried(num_steps, tuple(accuracy)) for num_steps, accuracy in rounds))


# --- UFT ---


def test_uft_probability_falls_by_a_cosine_and_ends():
    uft = UFT()
    # 0.05 + 0.45 * (1 + cos(pi * u / 0.6)): cos is 1, 0.5, 0, -1/sqrt(2) at u = 0, 0.2, 0.3, 0.45
    expected = {0.0: 0.95, 0.2: 0.725, 0.3: 0.5, 0.45: 0.05 + 0.45 * (1 - math.sqrt(0.5)), 0.6: 0.0, 0.9: 0.0}
    for progress, probability in expected.items():
        assert uft.probability(progress) == pytest.approx(probability)
    # step 300 of 500 still has a hint, step 301 has none
    assert uft.probability(299 / 500) > 0.05
    assert uft.probability(300 / 500) == 0.0


def test_uft_draws_buckets_and_gives_them_from_the_front():
    class Certain(UFT):
        share = 1.0

        def probability(self, progress):
            return self.share

    # all buckets: all steps; none: none
    assert counts(Certain(), 7) == [7]
    Certain.share = 0.0
    assert counts(Certain(), 7) == [0]
    # 7 steps in 5 buckets have the borders round(1.4), round(2.8), round(4.2), round(5.6) = 1, 3, 4, 6
    seen = {counts(UFT(), 7, progress=0.3, key=str(key))[0] for key in range(200)}
    assert seen == {0, 1, 3, 4, 6, 7}
    # 3 steps are 3 buckets
    assert {counts(UFT(), 3, progress=0.3, key=str(key))[0] for key in range(100)} == {0, 1, 2, 3}
    assert counts(UFT(), 0) == [0]


def test_uft_is_a_binomial_draw_of_the_samples_key():
    numbers = random.Random("42/3/a")
    successes = sum(numbers.random() < 0.725 for _ in range(5))
    assert counts(UFT(), 5, progress=0.2, key="42/3/a") == [successes]


# --- QuestA ---


def test_questa_gives_half_then_a_quarter_rounded_down():
    assert [counts(QuestA(), length)[0] for length in (1, 2, 5, 9)] == [0, 1, 2, 4]
    assert [counts(QuestA(), length, progress=0.05)[0] for length in (1, 3, 4, 9)] == [0, 0, 1, 2]
    assert counts(QuestA(switch=0.5), 8, progress=0.49) == [4]
    assert counts(QuestA(switch=0.5), 8, progress=0.5) == [2]


# --- GHPO ---


def test_ghpo_goes_up_in_quarters_and_keeps_the_last_group():
    # 10 steps: 2.5, 5, 7.5 -> 2, 5, 8 (Python rounds halves to even)
    assert counts(GHPO(), 10) == [0, 2, 5, 8]
    assert counts(GHPO(), 4) == [0, 1, 2, 3]
    # 2 steps: 0.5, 1, 1.5 -> 0, 1, 2: the repeat goes, and one step is left to the model
    assert counts(GHPO(), 2) == [0, 1]
    assert counts(GHPO(), 1) == [0]
    assert counts(GHPO(start=0.5), 4, progress=0.4) == [0]
    assert counts(GHPO(start=0.5), 4, progress=0.5) == [0, 1, 2, 3]
    assert GHPO().unsolved == "highest"


# --- G2RPO-A ---


def test_g2rpo_a_guides_two_of_twelve():
    assert sizes_of(G2RPOA(), 12) == (10, 2)
    assert sizes_of(G2RPOA(), 4) == (3, 1)
    assert sizes_of(G2RPOA(), 2) == (1, 1)
    assert counts(G2RPOA(), 8) == [0]
    assert counts(G2RPOA(), 8, history=group((0, [0.0] * 10))) == [8]


def test_g2rpo_a_length_follows_the_accuracies_in_threes():
    # one step more than a triple changes nothing
    assert guidance_length([0.2, 0.4], 1.0, 0.0) == 1.0
    # a = 0.3, b = 0.6: l = 1 * 0.3 / 0.6
    assert guidance_length([0.2, 0.4, 0.6], 1.0, 0.0) == pytest.approx(0.5)
    assert guidance_length([0.2, 0.4, 0.6, 0.9, 0.9], 1.0, 0.0) == pytest.approx(0.5)
    # then a = 0.6, b = 0.4: 0.5 * 0.6 / 0.4
    assert guidance_length([0.2, 0.4, 0.6, 0.5, 0.7, 0.4], 1.0, 0.0) == pytest.approx(0.75)
    # up to 1, down to the floor; 0 and NaN change nothing
    assert guidance_length([0.6, 0.6, 0.1], 1.0, 0.0) == 1.0
    assert guidance_length([0.1, 0.1, 0.9], 1.0, 0.25) == 0.25
    assert guidance_length([0.0, 0.0, 0.9, 0.3, 0.3, 0.0, math.nan, 0.3, 0.1], 0.5, 0.0) == 0.5


def test_g2rpo_a_guided_completions_get_that_share_of_the_steps():
    history = History(accuracies=[0.2, 0.4, 0.6], group=(Tried(0, (0.0,)),))
    assert counts(G2RPOA(), 9, history=history) == [4]  # floor(4.5)
    assert counts(G2RPOA(), 1, history=history) == [1]  # at least one


# --- SEELE ---


def test_seele_curve_and_its_inverse():
    curve = Curve(b=0.0, k=10.0, mu=-0.4)
    assert curve(0.4) == 0.5
    assert curve.inverse(0.5) == pytest.approx(0.4)
    guessing = Curve(b=0.2, k=10.0, mu=-0.4)
    assert guessing(0.4) == pytest.approx(0.6)  # 0.2 + 0.8 / 2
    # (0.5 - 0.2) / 0.8 = 0.375 = 1 / (1 + exp(-x)) for x = ln(0.375 / 0.625) = -0.5108; p = 0.4 - 0.05108
    assert guessing.inverse(0.5) == pytest.approx(0.4 + math.log(0.375 / 0.625) / 10)
    assert guessing(guessing.inverse(0.5)) == pytest.approx(0.5)
    assert Curve(b=0.6, k=10.0, mu=-0.4).inverse(0.5) == 0.0  # above one half without a hint
    assert Curve(b=0.0, k=1.0, mu=-3.0).inverse(0.5) == 1.0


@pytest.mark.parametrize("curve", [Curve(0.0, 12.0, -0.5), Curve(0.2, 20.0, -0.7), Curve(0.1, 6.0, -0.25)])
def test_seele_fit_finds_the_curve_that_made_the_points(curve):
    points = tuple((p, curve(p)) for p in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    found = fitted(points)
    assert sum((found(p) - accuracy) ** 2 for p, accuracy in points) < 1e-4
    assert found.inverse(0.5) == pytest.approx(curve.inverse(0.5), abs=0.01)


def test_seele_fit_is_the_best_of_a_dense_search():
    points = ((0.0, 0.0), (0.5, 0.25), (0.75, 0.5), (1.0, 1.0))

    def error(curve):
        return sum((curve(p) - accuracy) ** 2 for p, accuracy in points)

    others = [Curve(b / 20, 1.2**k, mu / 40) for b in range(10) for k in range(1, 23) for mu in range(-60, 21)]
    assert error(fitted(points)) <= min(map(error, others)) + 1e-9


def test_seele_points_average_repeats_and_pin_the_ends():
    tried = (Tried(3, (1.0, 1.0)), Tried(1, (0.0, 1.0)), Tried(1, (0.0, 0.0)))
    assert points_of(tried, 4) == ((0.0, 0.0), (0.25, 0.25), (0.75, 1.0), (1.0, 1.0))
    assert points_of((Tried(0, (1.0, 0.0)),), 4) == ((0.0, 0.5), (1.0, 1.0))


def test_seele_rounds():
    assert sizes_of(SEELE(), 32) == (8, 8, 8, 8)
    assert sizes_of(SEELE(), 6) == (2, 2, 1, 1)
    assert counts(SEELE(), 5) == [4]  # first time: all but one
    visits = [Visit(3, (Tried(4, (1.0,)), Tried(2, (0.0,)), Tried(3, (1.0,))))]
    assert counts(SEELE(), 5, history=History(visits=visits)) == [3]  # later: the last one predicted
    # all right with 4 of 5, so (0, 0), (0.8, 1), (1, 1): the middle lies between 0 and 0.8
    assert 0 < counts(SEELE(), 5, history=group((4, [1.0, 1.0])))[0] < 4
    # all wrong with 4 of 5: (0, 0), (0.8, 0), (1, 1): only above 0.8
    assert counts(SEELE(), 10, history=group((8, [0.0, 0.0])))[0] == 9
    # half right without a hint needs none
    assert counts(SEELE(), 5, history=group((4, [1.0]), (0, [1.0, 0.0]))) == [0]
    assert counts(SEELE(), 0, history=group((0, [0.0]))) == [0]


# --- TRAPO ---


def test_trapo_rounds():
    assert sizes_of(TRAPO(), 8) == (4, 2, 1, 1)
    assert sizes_of(TRAPO(), 16) == (8, 4, 2, 2)
    assert sizes_of(TRAPO(), 4) == (1, 1, 1, 1)
    assert counts(TRAPO(), 8) == [0]


@pytest.mark.parametrize(
    ("rounds", "num_steps"),
    [
        # after 4: 25 % of 8 steps unless 2 are correct
        ([(0, [1, 0, 0, 0])], 2),
        ([(0, [1, 1, 0, 0])], 0),
        # after 6: 50 % unless 4 are
        ([(0, [1, 1, 0, 0]), (0, [1, 0])], 4),
        ([(0, [1, 1, 0, 0]), (0, [1, 1])], 0),
        ([(0, [1, 0, 0, 0]), (2, [1, 1])], 4),
        # after 7: everything unless all 7 are
        ([(0, [1, 1, 1, 1]), (0, [1, 1]), (0, [0])], 8),
        ([(0, [1, 1, 1, 1]), (0, [1, 1]), (0, [1])], 0),
    ],
)
def test_trapo_hints_depend_on_the_running_score(rounds, num_steps):
    assert counts(TRAPO(), 8, history=group(*((n, map(float, accuracy)) for n, accuracy in rounds))) == [num_steps]


def test_trapo_rounds_steps_down():
    assert counts(TRAPO(), 7, history=group((0, [0.0] * 4))) == [1]  # 1.75
    assert counts(TRAPO(), 7, history=group((0, [0.0] * 4), (1, [0.0] * 2))) == [3]  # 3.5
    assert counts(TRAPO(), 3, history=group((0, [0.0] * 4))) == [0]
