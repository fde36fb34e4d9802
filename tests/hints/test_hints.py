import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hint_grpo.hints import (
    chosen_level,
    hint_at_level,
    hint_prefix,
    num_hint_steps,
    num_hint_steps_in_floats,
    num_steps_at_ratio,
    sum_above_zero,
)

STEPS = ("One.", "Two.", "Three.", "Four.", "Five.")


def test_counts_by_hand():
    # L = 5, M = 3: floor(0), floor(5/3), floor(10/3)
    assert [num_hint_steps(5, level, 3) for level in range(3)] == [0, 1, 3]
    # int(55 * (3 / 11)) is 14 in floats
    assert num_hint_steps(55, 3, 11) == 15
    assert num_steps_at_ratio(100, 0.29) == 29  # int(100 * 0.29) is 28


@given(st.integers(0, 500), st.integers(1, 20), st.data())
def test_count_is_the_exact_floor(num_steps, num_levels, data):
    level = data.draw(st.integers(0, num_levels - 1))
    count = num_hint_steps(num_steps, level, num_levels)
    assert count <= Fraction(num_steps * level, num_levels) < count + 1
    assert level == 0 or count >= num_hint_steps(num_steps, level - 1, num_levels)
    assert count < num_steps or num_steps == 0  # never the whole reasoning


def test_hint_is_the_first_steps_joined_by_one_space():
    assert hint_at_level(STEPS, 2, 3) == "One. Two. Three."
    assert hint_at_level(STEPS, 0, 3) == ""
    assert hint_prefix(STEPS, 2) == "One. Two."


@pytest.mark.parametrize("level", [-1, 3])
def test_level_outside_is_refused(level):
    with pytest.raises(ValueError, match="not one of"):
        num_hint_steps(5, level, 3)


@pytest.mark.parametrize(
    ("accuracy", "level"),
    [
        ([[0, 0], [0, 1], [1, 1]], 1),  # the lowest with a correct one, not the best
        ([[1, 0], [1, 1]], 0),
        ([[0, 0], [0, 0], [0, 0]], 0),  # none: level 0's group
        ([[0, 0], None, [0, 1]], 2),  # a level that was not sampled
        ([[0.5, 0.9], [1, 0]], 1),  # half right is not right
    ],
)
def test_chosen_level(accuracy, level):
    assert chosen_level(accuracy) == level


@pytest.mark.parametrize(
    "module",
    [
        "hint_grpo.hints",
        "hint_grpo.policies.registry",
        "hint_grpo.prompts",
        "hint_grpo.training.ledger",
        "hint_grpo.scoring",
    ],
)
def test_pure_modules_import_without_the_heavy_stack(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'vllm', 'trl') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_counts_in_floats_fall_short_where_the_released_code_does():
    # 90 * 0.7 is 62.99999999999999
    assert (num_hint_steps(90, 7, 10), num_hint_steps_in_floats(90, 7, 10)) == (63, 62)
    same = [(steps, level, num) for num in range(1, 10) for level in range(num) for steps in range(121)]
    assert all(num_hint_steps(*case) == num_hint_steps_in_floats(*case) for case in same)


def test_level_of_summed_rewards():
    # half a point is above 0; a level with nothing known is not; NaN is left out of a sum
    nan = float("nan")
    assert chosen_level([[0, 0], [0.5, nan], [1, 1]], sum_above_zero) == 1
    assert chosen_level([[0, 0], [nan, nan], None, [1, -1]], sum_above_zero) == 0
    assert chosen_level([[0, 0], [0.5, nan], [1, 1]]) == 2
