"""The two protocols compared: on made-up completions, and on the published log if it is available."""

import json
import re
from pathlib import Path

import pytest
from math_verify import parse, verify

from hint_grpo.scoring import can_read, extract_answer, score

# (ground truth, completion, strict, paper): one of each kind of disagreement found on real completions.
KINDS = [
    ("40°", "Since PQ = PR, angle Q = 40°. Therefore, the answer is 40.", 0.0, 1.0),  # no <answer>
    ("9cm", "<think> The perimeter is the sum of PQ, QR and RP, and PQ = 9", 0.0, 1.0),  # cut off at the gold's number
    ("6√{2}", "<think>half of 12 is 6.</think>\n<answer>6</answer>", 0.0, 1.0),  # the bare coefficient
    ("3cm", "<think>PQ = √18 = 3√2.</think>\n<answer>3√2</answer>", 0.0, 1.0),  # the answer's bare coefficient
    ("8", "<think>PQ + QR + RP = 8.0 + QR + RP</think>\n<answer>8.0 + QR + RP</answer>", 0.0, 1.0),
    ("45", "<think>The area is 45.0.</think>\n<answer>45.2</answer>", 0.0, 1.0),  # the thinking says something else
    ("√{7}", "<think>so PQ = √7</think>\n<answer>√7</answer>", 1.0, 0.0),  # a root
    ("5√{2}", "<think>so PQ is found</think>\n<answer>5\\sqrt{2}</answer>", 1.0, 0.0),
    ("1.5", "<think>PQ is one fifth of 7.5, so we divide 7.5 by 5.0.</think>\n<answer>1.5</answer>", 1.0, 0.0),
    ("\\frac{1}{9}", "<think>The sides are as 1 to 3.</think>\n<answer>1:9</answer>", 1.0, 0.0),  # a ratio
    ("130°", "<think>180 - 50 = 130</think>\n<answer>130</answer>", 1.0, 1.0),
    ("130°", "<think>half of 100 is 50.</think>\n<answer>50</answer>", 0.0, 0.0),
]


@pytest.mark.parametrize(("gold", "completion", "strict", "paper"), KINDS)
def test_kinds_of_disagreement(gold: str, completion: str, strict: float, paper: float):
    assert score(completion, gold, "strict") == strict
    assert score(completion, gold, "paper") == paper
    assert paper == float(verify(parse(gold), parse(completion)))


def test_the_ground_truth_comes_first():
    # verify is not symmetric: an equation answers a value, a value does not answer an equation.
    equation, value = "<answer>the answer: $2x + z = 5$</answer>", "5"
    swapped = "<answer>the answer: $5$</answer>", "$2x + z = 5$"
    assert verify(parse(value), parse(equation)) is True
    assert score(equation, value, "paper") == 1.0
    assert verify(parse(swapped[1]), parse(swapped[0])) is False
    assert score(*swapped, "paper") == 0.0


def test_ground_truths_that_became_numbers_are_still_read():
    # math_verify's parse(4) is []; a column of all-numeric ground truths often turns into numbers on the way.
    for gold in (4, 4.0, "4"):
        assert score("<answer>4</answer>", gold) == 1.0  # type: ignore[arg-type]
        assert score("so it is 4", gold, "paper") == 1.0  # type: ignore[arg-type]
        assert score("<answer>5</answer>", gold) == 0.0  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def log(shared_data: Path) -> dict:
    return json.loads((shared_data / "completions/geoqa_test_qwen2vl_7b_instruct_legacy.json").read_text())


@pytest.fixture(scope="module")
def golds(shared_data: Path) -> list[str]:
    lines = (shared_data / "geoqa/geoqa_test_prompts.jsonl").read_text().splitlines()
    return [json.loads(line)["ground_truth"] for line in lines]


def test_paper_reproduces_the_published_log(log: dict):
    scores = [score(row["model_output"], row["ground_truth"], "paper") for row in log["results"]]
    assert [bool(value) for value in scores] == [row["is_correct"] for row in log["results"]]
    assert 100 * sum(scores) / len(scores) == log["accuracy"] == 30.636604774535808


def test_strict_on_the_published_log(log: dict):
    scores = [score(row["model_output"], row["ground_truth"]) for row in log["results"]]
    assert (sum(scores), len(scores)) == (198, 754)  # docs/scoring.md lists the differences by kind
    assert not any(
        value for value, row in zip(scores, log["results"], strict=True) if "</answer>" not in row["model_output"]
    )


def test_every_real_ground_truth_is_read_and_equals_itself(golds: list[str]):
    assert len(golds) == 754
    assert all(map(can_read, golds))
    assert sum(score(f"<think>the sum is = 180</think><answer>{gold}</answer>", gold) for gold in golds) == 754


def test_roots_and_pi_of_the_real_ground_truths(golds: list[str]):
    exact = [gold for gold in golds if "√" in gold or "π" in gold]
    assert len(exact) == 77
    unit = re.compile(r"(cm\^?\{?2?\}?|cm²|m\^\{2\}|平方米|海里|小时|米|m)$")
    accepted = coefficients = refused = 0
    for gold in exact:
        latex = unit.sub("", gold).replace("√", "\\sqrt").replace("π", "\\pi ")
        accepted += score(f"<think>a = 180</think><answer>${latex}$</answer>", gold) == 1.0
        if coefficient := re.match(r"[0-9]+(?=[√π])", gold):
            coefficients += 1
            refused += score(f"<think>a = 180</think><answer>{coefficient[0]}</answer>", gold) == 0.0
    assert accepted == 77
    assert coefficients == refused == 56


def test_real_counting_rows(shared_data: Path):
    lines = (shared_data / "geoqa/superclevr_test200_counting_problems.jsonl").read_text().splitlines()
    golds = [json.loads(line)["ground_truth"] for line in lines]
    assert len(golds) == 200
    assert all(score(f"<answer>There are {gold} items.</answer>", gold) == 1.0 for gold in golds)
    assert not any(score(f"<answer>{int(gold) + 1}</answer>", gold) for gold in golds)


def test_answers_of_the_log_are_extracted(log: dict):
    tagged = [row for row in log["results"] if "</answer>" in row["model_output"] and "<answer>" in row["model_output"]]
    assert all(extract_answer(row["model_output"]) is not None for row in tagged)
    assert len(tagged) == 664
