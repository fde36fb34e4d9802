"""The reward functions as TRL calls them."""

import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.scoring import score
from hint_grpo.scoring.rewards import REWARD_NAMES, make_reward

COMPLETIONS = [
    "angle 2 = 72</think><answer>72°</answer>",
    "angle 2 = 72</think><answer>108</answer>",
    "angle 2 = 72",
    "so</think> 5 <answer>72</answer>",
]
SOLUTIONS = ["72°"] * 4


def test_accuracy_is_the_checker():
    accuracy = make_reward("accuracy", "strict")
    rewards = accuracy(prompts=["Q"] * 4, completions=COMPLETIONS, solution=SOLUTIONS, completion_ids=[[1]] * 4)
    assert rewards == [1.0, 0.0, 0.0, 1.0]
    assert rewards == [score(text, gold) for text, gold in zip(COMPLETIONS, SOLUTIONS, strict=True)]


def test_accuracy_by_the_papers_protocol():
    # Wherever it stands, the last number counts.
    accuracy = make_reward("accuracy", "paper")
    assert accuracy(completions=["x = 72"], solution=["72°"]) == [1.0]
    assert make_reward("accuracy", "strict")(completions=["x = 72"], solution=["72°"]) == [0.0]


def test_format_looks_at_the_whole_turn():
    formatted = make_reward("format", "strict")
    assert formatted(completions=COMPLETIONS, solution=SOLUTIONS) == [1.0, 1.0, 0.0, 0.0]
    turns = ["<think>Step 1: look.", "<think>", "", "<think>"]
    assert formatted(completions=COMPLETIONS, solution=SOLUTIONS, begun=turns) == [1.0, 1.0, 0.0, 0.0]
    assert formatted(completions=["</think><answer>1</answer>"], begun=["<think>Step 1: look."]) == [1.0]
    assert formatted(completions=["<think>a</think><answer>1</answer>"], begun=[""]) == [1.0]


def test_rewards_carry_their_names_for_the_logs():
    assert [make_reward(name, "strict").__name__ for name in REWARD_NAMES] == list(REWARD_NAMES)


def test_unknown_names_are_the_users_mistake():
    with pytest.raises(UserError, match="accuracy, format"):
        make_reward("acuracy", "strict")
    with pytest.raises(UserError, match="strict, paper"):
        make_reward("accuracy", "lenient")
    with pytest.raises(UserError, match="strict, paper"):
        score("<answer>1</answer>", "1", "lenient")


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        make_reward("accuracy", "strict")(completions=COMPLETIONS, solution=["72°"])
