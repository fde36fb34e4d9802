"""Finding the answer: think and answer tags, closed and unclosed, in every order."""

import pytest

from hint_grpo.scoring import extract_answer, is_well_formatted, score


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("<think>a</think><answer>5</answer>", "5"),
        ("the rest of a begun thought</think>\n<answer> 5 </answer>\n", "5"),
        ("<answer>5</answer>", "5"),
        ("<think>a</think><answer>5</answer> or rather <answer>6</answer>", "6"),
        ("<think>a</think><answer>5</answer><answer>6", "5"),
        ("<think>is it <answer>4</answer>? no</think><answer>5</answer>", "5"),
        ("<think>a</think><answer>5</answer><think>is it <answer>4</answer>?</think>", "5"),
        ("<think>a</think><answer>1 <answer>2</answer>", "2"),
        ("<THINK>a</Think ><Answer>5</ANSWER>", "5"),
        ("<think>never closed <answer>5</answer>", "5"),
        ("<think>a</think><answer>5\n6</answer>", "5\n6"),
        # one inside another: all that the outer one encloses
        ("<answer><answer>65</answer>115</answer>", "65\n115"),
        ("<answer>115<answer>65</answer></answer>", "115\n65"),
        ("<answer><answer>65</answer></answer>", "65"),
        ("<answer><answer>65</answer> <answer>115</answer></answer>", "65\n \n115"),
        ("<answer><answer>65</answer>115</answer><answer>5</answer>", "5"),
        ("<think>in <answer></think><answer>5</answer>", "5"),
        # no answer
        ("", None),
        ("<think>x = 5</think>", None),
        ("<think>x = 5", None),
        ("Step 1: the angle is 5.", None),
        ("<think>x = 5</think><answer></answer>", None),
        ("<think>x = 5</think><answer> \n </answer>", None),
        ("<think>x = 5</think><answer>5", None),
        ("<think>x = 5</think>5</answer>", None),
        ("<think>it is <answer>5</answer></think>", None),
        ("it is <answer>5</answer></think>", None),
        ("<think>a</think><answer>5</answer><answer></answer>", None),
    ],
)
def test_the_last_closed_answer_after_the_thinking_counts(completion: str, answer: str | None):
    assert extract_answer(completion) == answer


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "Step 1: x = 72.",
        "x = 72</think>",
        "x = 72</think><answer>",
        "x = 72</think><answer></answer>",
        "x = 72</answer>",
    ],
)
def test_no_answer_scores_zero_even_if_the_thinking_has_the_number(completion: str):
    assert score(completion, "72") == 0.0


@pytest.mark.parametrize("gold", ["65", "115", "65115"])
def test_an_answer_around_another_contains_both(gold: str):
    assert score("<answer><answer>65</answer>115</answer>", gold) == 0.0


def test_many_tags_take_linear_time():
    # Quadratic handling of these 4 million characters would take hours, not a second.
    many = 100_000
    assert extract_answer("<answer>1</answer>" * many + "<think></think>" * many) == "1"
    assert extract_answer("<think><answer>1</answer></think>" * many) is None
    assert extract_answer("<answer>" * many + "1" + "</answer>" * many) == "1"


@pytest.mark.parametrize(
    ("completion", "begun", "expected"),
    [
        ("it is 5</think><answer>5</answer>", "<think>", True),
        ("it is 5</think>\n\n<answer>\n5\n</answer>\n", "<think>", True),
        ("</think><answer>5</answer>", "<think>Step 1: look.", True),
        ("<think>it is 5</think><answer>5</answer>", "", True),
        ("</think><answer>5</answer>", "<think>", False),
        ("it is 5</think><answer></answer>", "<think>", False),
        ("it is 5</think>5", "<think>", False),
        ("it is 5<answer>5</answer>", "<think>", False),
        ("it is 5</think> so <answer>5</answer>", "<think>", False),
        ("it is 5</think><answer>5</answer> right?", "<think>", False),
        ("it is 5</think><answer>5</answer><answer>5</answer>", "<think>", False),
        ("it is 5</think></think><answer>5</answer>", "<think>", False),
        ("<think>it is 5</think><answer>5</answer>", "<think>", False),
        ("it is 5</think><answer>5", "<think>", False),
        ("it is 5</think><answer>5</answer>", "", False),
        ("<answer>5</answer><think>it is 5</think>", "", False),
    ],
)
def test_format_is_one_think_block_and_one_answer_block(completion: str, begun: str, expected: bool):
    assert is_well_formatted(completion, begun) is expected


def test_format_assumes_a_begun_think_tag():
    assert is_well_formatted("it is 5</think><answer>5</answer>")
