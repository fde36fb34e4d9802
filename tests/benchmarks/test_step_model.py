"""The model of a step, by hand: one or two prompts, completions of a few tokens, decoding steps of 1 s + 0.5 s per row."""

import pytest

from benchmarks.step_model import (
    Decoding,
    Node,
    Sampling,
    Work,
    over_plain,
    simulate,
    solve,
    step_seconds,
    tokens_of_busiest,
)

DECODING = Decoding(base=1.0, row=0.5)


def work(lengths, needed, prompt_tokens=10, hint_tokens=(0, 2)):
    return Work(lengths, needed, prompt_tokens, hint_tokens)


def test_lazy_samples_the_next_level_after_the_last_one():
    """Level 0 has 2 steps of two rows and 2 of one, level 1 has 1 and 2: 4 + 3 + 2 + 3 s."""
    assert simulate(work([[[4, 2], [3, 1]]], [1]), "lazy", DECODING) == Sampling(12.0, 7, 10)


def test_lazy_samples_no_level_above_one_that_succeeds():
    assert simulate(work([[[4, 2], [3, 1]]], [0]), "lazy", DECODING) == Sampling(7.0, 4, 6)


def test_eager_samples_all_levels_together():
    """Steps of four, three, two and one row: 3 + 2.5 + 2 + 1.5 s."""
    assert simulate(work([[[4, 2], [3, 1]]], [1]), "eager", DECODING) == Sampling(9.0, 4, 10)


def test_speculative_stops_the_levels_above_a_right_completion():
    """After one step of four rows the first completion is right; two steps of one row follow: 3 + 3 s."""
    assert simulate(work([[[1, 3], [3, 3]]], [0]), "speculative", DECODING) == Sampling(6.0, 3, 6)


def test_speculative_stops_nothing_below_a_right_completion():
    """Level 1 is right after one step, but level 0 might still be. It is not, and both groups are complete after three steps."""
    assert simulate(work([[[2, 3], [1, 3]]], [1]), "speculative", DECODING).tokens == 9


def test_prompts_decode_together_and_each_is_read_once():
    two = work([[[2], [2]], [[2], [2]]], [0, 0], prompt_tokens=5)
    assert simulate(two, "lazy", Decoding(1.0, 0.5, prompt_token=0.1)) == Sampling(2 * 2.0 + 10 * 0.1, 2, 4)


def test_a_rank_trains_on_padded_groups_at_the_chosen_level():
    """Prompt 0 at level 0: 2 rows of 10 + 4 tokens; prompt 1 at level 1, whose hint has 2: 2 rows of 10 + 2 + 3."""
    two = work([[[4, 1], [9, 9]], [[9, 9], [3, 1]]], [0, 1])
    assert tokens_of_busiest(two, num_ranks=2) == 30
    assert tokens_of_busiest(two, num_ranks=1) == 28 + 30
    assert two.chosen(0) == 0
    assert two.chosen(1) == 1


def test_a_prompt_that_always_fails_is_trained_on_at_level_0():
    never = work([[[4], [3]]], [2])
    assert never.chosen(0) == 0
    assert simulate(never, "lazy", DECODING).tokens == 7


def test_the_seconds_of_a_step():
    """Sampling: 4 steps of one row. Training: 3 passes over 1 * (10 + 4) tokens of 0.1 s, and 2 s."""
    node = Node(DECODING, forward_token=0.1, passes=3, update=2.0, hand_over=9.0, num_ranks=1)
    assert step_seconds(work([[[4], [3]]], [0]), "lazy", node) == pytest.approx((6.0, 4.2 + 2.0))
    # Level 1, which is not trained on, is scored too: two passes over 10 + 2 + 3 tokens.
    scored = step_seconds(work([[[4], [3]]], [0]), "lazy", node, scores_all_levels=True)
    assert scored == pytest.approx((6.0, 6.2 + 2 * 15 * 0.1))


def test_the_hand_over_overlaps_nothing():
    """Sampling takes longest here, so a step that samples ahead saves the update, 1 s, and nothing else."""
    node = Node(Decoding(base=1.0, row=0.0), forward_token=0.0, passes=5, update=1.0, hand_over=2.0, num_ranks=1)
    times = over_plain(num_levels=1, prompts=1, sigma=0.6, num_steps=1, node=node)
    assert times["sampling"] * times["plain"] == pytest.approx(times["plain"] - 3)
    assert times["ahead"] * times["plain"] == pytest.approx(times["plain"] - 1)


def test_two_equations_give_the_two_constants():
    assert solve((10, 100, 10 * 2.0 + 100 * 0.5), (10, 300, 10 * 2.0 + 300 * 0.5)) == pytest.approx((2.0, 0.5))


def test_on_a_node_speculative_escalation_costs_little_and_lazy_much():
    """The step of the published command: 7 prompts, groups of 4, three levels."""
    times = over_plain(num_levels=3, prompts=7, sigma=0.6, num_steps=20)
    assert times["speculative"] <= 1.05
    assert times["lazy"] > 1.1
    assert times["eager"] >= times["speculative"]
    assert times["ahead"] < 1
