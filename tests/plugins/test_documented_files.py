"""The files of docs/your_own.md, as they stand there: short, outside the package, and each does what the text says."""

import re
from pathlib import Path

import pytest

from hint_grpo.evaluation.datasets.registry import adapter_of
from hint_grpo.scoring.rewards import make_reward, make_rewards, try_rewards

ROW = {
    "id": "a",
    "question": "How many?",
    "solution": "12",
    "reasoning_steps": ["a", "b"],
    "extra": '{"difficulty": 3}',
}
FILE = re.compile(r"<!-- (\w+\.py) -->\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def files(repository: Path, tmp_path_factory) -> Path:
    """A folder with every file of the document."""
    folder = tmp_path_factory.mktemp("documented")
    for name, text in FILE.findall((repository / "docs" / "your_own.md").read_text("utf-8")):
        (folder / name).write_text(text)
    return folder


def test_every_block_of_python_is_a_file_of_15_lines_at_most(repository: Path, files: Path) -> None:
    text = (repository / "docs" / "your_own.md").read_text("utf-8")
    assert text.count("```python") == len(list(files.iterdir()))
    for file in files.iterdir():
        assert len(file.read_text().splitlines()) <= 15, file.name


def tried(names: list[str], accuracy: str | None = None, scorer: str = "strict"):
    try_rewards(names, accuracy, scorer, ROW, 4, None)
    return make_rewards(names, accuracy, scorer)


def test_rewards(files: Path) -> None:
    (brevity, hard), _ = tried([f"{files}/reward.py:brevity", f"{files}/reward.py:hard_ones"])
    assert brevity(completions=["a" * 399, "a" * 400]) == [1.0, 0.0]
    assert hard(completions=["a", "b"], difficulty=[3, 2]) == [0.1, None]


def test_a_reward_that_trl_makes_and_one_of_its_own(files: Path) -> None:
    (overlong, think), _ = tried([f"{files}/overlong.py:overlong", "trl.rewards:think_format_reward"])
    # 768 - 128 = 640 tokens cost nothing; 704 are half of the way to 768
    assert overlong(completions=["a", "b"], completion_ids=[[1] * 640, [1] * 704]) == [0.0, -0.5]
    assert think(completions=["a</think>b", "a"]) == [1.0, 0.0]


def test_accuracy(files: Path) -> None:
    (accuracy,), decides = tried(["accuracy"], f"{files}/accuracy.py:close")
    assert accuracy is decides
    completions, solution = ["it is 12", "5 or 11", "none", "99"], ["12"] * 4
    assert decides(completions=completions, solution=solution) == [1.0, pytest.approx(0.9), 0.0, 0.0]


def test_a_scorer(files: Path) -> None:
    tried(["accuracy"], None, f"{files}/scorer.py:contains")
    accuracy = make_reward("accuracy", f"{files}/scorer.py:contains")
    assert accuracy(completions=["12</think><answer>13", "<answer>12 cm</answer>"], solution=["12"] * 2) == [0.0, 1.0]


def test_a_data_set(files: Path) -> None:
    adapter = adapter_of(f"{files}/clocks.py:CLOCKS")
    assert adapter.columns == ("question", "photo", "time")
