"""The authors' released training reward and evaluation: case by case, and against their code's results on real completions."""

import json
from pathlib import Path

import pytest
from math_verify import parse, verify

from hint_grpo.scoring import reset_stats, score, stats
from hint_grpo.scoring.rewards import make_reward

# (completion, solution, accuracy, format)
CASES = [
    ("<think>5 + 3</think>\n<answer> 8 </answer>", "8 cm", 1, 1),  # a second <think>: the only way to earn the format
    ("so</think><answer> 8 </answer>", "8 cm", 1, 0),
    ("so</think><answer>8</answer>", "8 cm", 0, 0),  # math_verify finds no number where a tag touches it
    ("<think>a</think><answer>8</answer> done", "8", 1, 0),
    ("<think>one\ntwo</think>  <answer>8\n</answer>", "8", 1, 1),
    ("so it is 8", "8", 1, 0),  # the number counts wherever it stands
    ("8 or 9</think><answer>9</answer>", "8", 0, 0),  # but the last one in the text
    ("</think><answer>3√5</answer>", "3√5", 1, 0),
    ("</think><answer>3</answer>", "3√5", 0, 0),
    ("</think><answer> no </answer>", "no", 1, 0),  # no value: the text is compared
    ("</think><answer>No</answer>", "no", 0, 0),  # character by character
    ("</think><answer>no</answer><answer>yes</answer>", "yes", 0, 0),  # the first <answer>
    ("no", " no ", 1, 0),  # without an <answer> the whole completion
    ("</think><answer>$\\frac{3}{4}$</answer>", "0.75", 1, 0),
    ("</think><answer>B</answer>", "75°", 0, 0),
    ("", "8", 0, 0),
]


@pytest.mark.parametrize(("completion", "solution", "accuracy", "format"), CASES)
def test_training_rewards(completion: str, solution: str, accuracy: int, format: int):
    assert make_reward("accuracy", "released")(completions=[completion], solution=[solution]) == [accuracy]
    assert make_reward("format", "released")(completions=[completion], solution=[solution]) == [format]


def test_the_completion_comes_first():
    # verify is not symmetric: a value answers an equation, an equation does not answer a value.
    equation, value = "the answer: $2x + z = 5$", "5"
    assert verify(parse(equation), parse(value)) is False
    assert verify(parse(value), parse(equation)) is True
    for protocol in ("released", "released_evaluation"):
        assert score(equation, value, protocol) == 0.0
        assert score(value, equation, protocol) == 1.0
    assert (score(equation, value, "paper"), score(value, equation, "paper")) == (1.0, 0.0)


def test_evaluation_does_not_compare_texts():
    assert score("<answer>no</answer>", "no", "released") == 1.0
    assert score("<answer>no</answer>", "no", "released_evaluation") == 0.0


def test_what_math_verify_cannot_finish_is_compared_as_text():
    reset_stats()
    tower = "$10^{10^{10^{10}}}$"
    assert score(f"{tower}</think><answer>8</answer>", "8", "released") == 1.0
    assert stats()["timeouts"] + stats()["crashes"] == 1
    assert score(f"{tower}</think><answer>9</answer>", "8", "released") == 0.0


@pytest.fixture(scope="module")
def released(shared_data: Path) -> dict:
    return json.loads((shared_data / "released/rewards.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def log(shared_data: Path, released: dict) -> list[dict]:
    return json.loads((shared_data / released["training_reward_on_log"]["file"]).read_text("utf-8"))["results"]


def test_their_rewards_on_real_completions(released: dict, log: list[dict]):
    rewards = [score(row["model_output"], row["ground_truth"], "released") for row in log]
    assert len(log) == 754
    assert "".join(str(int(reward)) for reward in rewards) == released["training_reward_on_log"]["rewards"]


def test_their_verdicts_on_real_completions(released: dict, log: list[dict]):
    verdicts = [score(row["model_output"], row["ground_truth"], "released_evaluation") for row in log]
    assert "".join(str(int(verdict)) for verdict in verdicts) == released["evaluation_on_log"]["verdicts"]


def test_their_rewards_on_small_cases(released: dict):
    assert len(released["small"]) == 11
    for case in released["small"]:
        given = {"completions": [case["completion"]], "solution": [case["solution"]]}
        assert make_reward("accuracy", "released")(**given) == [case["reward"]], case
        assert make_reward("format", "released")(**given) == [case["format"]], case
