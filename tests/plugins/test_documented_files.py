"""The files of docs/your_own.md, as they stand there: short, outside the package, and each does what the text says."""

import re
from pathlib import Path

import pytest

from hint_grpo.evaluation.datasets.registry import adapter_of
from hint_grpo.policies.base import HintedSample, levels_of, sizes_of
from hint_grpo.policies.history import NOTHING, History, Tried, Visit
from hint_grpo.policies.registry import make_policy, try_policy
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


def counts(policy, progress=0.0, history=NOTHING) -> list[int]:
    return [level.num_steps for level in levels_of(policy, HintedSample("a", ["s"] * 8, "k"), progress, history)]


def test_a_hint_policy(files: Path) -> None:
    policy = make_policy(f"{files}/decaying.py:Decaying", arguments={"start": 0.75})
    try_policy(policy, ["s"] * 8, {}, 4)
    assert counts(policy) == [0, 6]
    assert counts(policy, progress=0.5) == [0, 3]
    assert counts(policy, progress=0.99) == [0]  # the same number twice is one level
    solved, failed = (
        History(visits=[Visit(1, (Tried(0, (value, 0.0)), Tried(6, (1.0, 1.0))))]) for value in (1.0, 0.0)
    )
    assert (counts(policy, history=solved), counts(policy, history=failed)) == ([0], [0, 6])


def test_a_policy_that_mixes_hints(files: Path) -> None:
    policy = make_policy(f"{files}/one_hinted.py:OneHinted")
    try_policy(policy, ["s"] * 8, {}, 4)
    assert sizes_of(policy, 4) == (3, 1)
    assert counts(policy) == [0]
    assert counts(policy, history=History(group=(Tried(0, (0.0, 0.0, 0.0)),))) == [4]
    assert counts(policy, history=History(group=(Tried(0, (0.0, 1.0, 0.0)),))) == [0]


def test_the_policy_and_the_reward_of_the_readme(repository: Path, tmp_path: Path) -> None:
    text = (repository / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(def .*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "mine.py").write_text("\n\n".join(blocks))
    tried(["accuracy", f"{tmp_path}/mine.py:brevity"])
    policy = make_policy(f"{tmp_path}/mine.py:decaying")
    assert (counts(policy), counts(policy, progress=0.5)) == ([0, 4], [0, 2])
