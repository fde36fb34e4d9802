"""`python -m hint_grpo.evaluation compare`: the 2x2 table, the p-value, and runs that cannot be compared."""

import subprocess
import sys
from pathlib import Path

import pytest

from hint_grpo.evaluation.compare import compare, comparison_text, results_of
from hint_grpo.evaluation.results import Result, write_results
from hint_grpo.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def result(id: str, paper: bool, strict: bool = False, question: str = "how many?") -> Result:
    return Result(id, "a.png", question, "4", "<answer>4</answer>", "4", paper, strict, 3, "stop")


def write_run(folder: Path, verdicts: str) -> Path:
    """A run whose i-th question the paper's protocol judges by the i-th character, + or -."""
    folder.mkdir(parents=True)
    write_results(folder / "results.jsonl", [result(str(i), mark == "+") for i, mark in enumerate(verdicts)])
    return folder


def test_the_table_counts_pairs(tmp_path: Path) -> None:
    a = results_of(write_run(tmp_path / "a", "++++-----+"))
    b = results_of(write_run(tmp_path / "b", "+++-+++++-"))
    comparison = compare(a, b, "paper")
    assert (comparison.both, comparison.only_a, comparison.only_b, comparison.neither) == (3, 2, 5, 0)
    assert (comparison.ids_only_a, comparison.ids_only_b) == (("3", "9"), ("4", "5", "6", "7", "8"))
    assert (comparison.accuracy_a, comparison.accuracy_b) == (0.5, 0.8)
    assert comparison.p_value == pytest.approx(2 * (1 + 7 + 21) / 128)
    assert compare(a, b, "strict").neither == 10


def test_questions_of_one_run_only_are_left_out(tmp_path: Path) -> None:
    a, b = results_of(write_run(tmp_path / "a", "++-")), results_of(write_run(tmp_path / "b", "+"))
    assert compare(a, b, "paper").num_questions == 1


def test_the_same_id_must_be_the_same_question() -> None:
    with pytest.raises(UserError, match="same question file"):
        compare({"0": result("0", True)}, {"0": result("0", True, question="how large?")}, "paper")


def test_runs_without_a_shared_question_are_refused() -> None:
    with pytest.raises(UserError, match="share no question"):
        compare({"0": result("0", True)}, {"1": result("1", True)}, "paper")


def test_a_run_is_named_by_file_folder_or_output_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "out" / "scale-0.8", "+-")
    assert results_of(folder) == results_of(folder / "results.jsonl") == results_of(tmp_path / "out")
    write_run(tmp_path / "out" / "scale-0.0", "+-")
    with pytest.raises(UserError, match="2 runs"):
        results_of(tmp_path / "out")


@pytest.mark.parametrize(("a", "b", "words"), [("+" * 6, "-" * 6, "A is better"), ("+-+", "-++", "no difference")])
def test_the_verdict(tmp_path: Path, a: str, b: str, words: str) -> None:
    runs = [results_of(write_run(tmp_path / str(number), marks)) for number, marks in enumerate((a, b))]
    assert words in comparison_text("x", "y", compare(runs[0], runs[1], "paper"))


def test_the_ids_that_differ_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    a, b = (results_of(write_run(tmp_path / name, marks)) for name, marks in (("a", "+" * 23 + "-"), ("b", "-" * 24)))
    (line,) = [line for line in comparison_text("x", "y", compare(a, b, "paper")).splitlines() if ": 0, " in line]
    assert line == f"  only in A: {', '.join(map(str, range(20)))} and 3 more"
    assert "only in A:" not in comparison_text("x", "y", compare(a, b, "strict"))


def test_the_command(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", "++++++++--"), write_run(tmp_path / "b", "--------++")
    done = _compare(a, b)
    assert done.returncode == 0
    assert "only in A 8, only in B 2" in done.stdout
    lines = done.stdout.splitlines()
    assert lines[5:7] == ["  only in A: 0, 1, 2, 3, 4, 5, 6, 7", "  only in B: 8, 9"]
    assert lines[-1] == f"to see these answers side by side: python -m hint_grpo.report {a} {b}"
    assert "p = 0.1094" in done.stdout  # 2 * (1 + 10 + 45) / 1024


def test_a_missing_run_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = _compare(tmp_path / "a", tmp_path / "b")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def _compare(a: Path, b: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hint_grpo.evaluation", "compare", str(a), str(b)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
