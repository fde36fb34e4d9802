"""The benchmark of the evaluation command: its table by hand, and the whole script at a tiny size."""

import json
import subprocess
import sys

import pytest

from benchmarks.evaluation import METHODS, Measurement, agreement, table, times_plain

TEXTS = {"a": "one", "b": "two"}


def measured(method: str, whole: float, decoding: float, texts=TEXTS) -> Measurement:
    return Measurement(method, whole, decoding, 10, texts)


def test_questions_per_minute_of_the_whole_and_of_decoding():
    one = measured("plain", whole=8.0, decoding=2.0)
    assert one.per_minute("whole") == 15
    assert one.per_minute("decoding") == 60


def test_ratios_are_medians_of_each_rounds_ratio():
    """Ratios 1/2, 1 and 2: the median is 1, although the ratio of the medians is 3/4."""
    rounds = [
        {"plain": measured("plain", whole, 1.0), "1 scale": measured("1 scale", other, 1.0)}
        for whole, other in ((2.0, 4.0), (3.0, 3.0), (8.0, 4.0))
    ]
    assert times_plain(rounds, "1 scale", "whole") == 1
    lines = table(rounds).splitlines()
    assert lines[2] == "| plain | 10 | 3.0 | 40.0 | 1.00 | 1.0 | 120.0 | 1.00 |"
    assert lines[3] == "| 1 scale | 10 | 4.0 | 30.0 | 1.00 | 1.0 | 120.0 | 1.00 |"


def test_completions_are_compared_by_question():
    both = {"plain": measured("plain", 1, 1, {"b": "two", "a": "one"}), "1 scale": measured("1 scale", 1, 1)}
    assert agreement(both).endswith("for 2 of 2 questions")
    both["plain"] = measured("plain", 1, 1, {"a": "one", "b": "2"})
    assert agreement(both).endswith("for 1 of 2 questions")


@pytest.mark.slow
def test_the_script_runs(repository, tmp_path):
    flags = ["--questions", "3", "--max_new_tokens", "4", "--rounds", "1", "--batch_size", "2"]
    flags += ["--hidden_size", "64", "--layers", "1"]
    command = [sys.executable, "benchmarks/evaluation.py", *flags, "--json", str(tmp_path / "numbers.json")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "same completion at scale 0.0 and by plain vLLM for 3 of 3 questions" in done.stdout
    (numbers,) = json.loads((tmp_path / "numbers.json").read_text())
    assert tuple(numbers) == METHODS
    for one in numbers.values():
        assert one["whole"] > one["decoding"] > 0
        assert len(one["completions"]) == 3
