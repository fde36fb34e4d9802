"""--rescore: which folders, in which order, and that the last line is not a blind run's."""

from pathlib import Path

import pytest

from hint_grpo.evaluation.report import accuracy_line
from hint_grpo.evaluation.rescore import rescore
from hint_grpo.evaluation.results import RESULTS_FILE, Result, write_results
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import only_run_in


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The seeing runs are right, the blind one is wrong; every stored verdict is stale."""
    for name, answer in {"scale-0.0": "4", "scale-0.8": "4", "scale-0.0-no_image": "5"}.items():
        completion = f"<think>a</think><answer> {answer} </answer>"
        (tmp_path / name).mkdir()
        result = Result("1", "a.png", "How many?", "4", completion, answer, answer != "4", answer != "4", 9, "stop")
        write_results(tmp_path / name / RESULTS_FILE, [result])
    return tmp_path


def test_blind_runs_come_first(output: Path) -> None:
    summaries = rescore(output)
    assert [summary.name for summary in summaries] == ["scale-0.0-no_image", "scale-0.0", "scale-0.8"]
    assert accuracy_line(summaries) == "Accuracy: 100.00%"
    assert (output / "accuracy_by_scale.csv").exists()
    assert accuracy_line(rescore(output, [0.8, 0.0])) == "Accuracy: 100.00%"


def test_no_image_rescores_only_them(output: Path) -> None:
    summaries = rescore(output, no_image=True)
    assert [summary.name for summary in summaries] == ["scale-0.0-no_image"]
    assert accuracy_line(summaries) == "Accuracy: 0.00%"


def test_the_protocol_of_a_run_is_kept_and_can_be_changed(tmp_path: Path) -> None:
    """`verify` is not symmetric: an equation is met by a value as ground truth, and not the other way round."""
    (tmp_path / "scale-0.0").mkdir()
    result = Result("1", "a.png", "x?", "5", "the answer: $2x + z = 5$", None, True, False, 9, "stop")
    write_results(tmp_path / "scale-0.0" / RESULTS_FILE, [result])
    verdicts = [
        rescore(tmp_path, protocol=protocol)[0].num_correct_paper
        for protocol in (None, "released_evaluation", None, "paper")
    ]
    assert verdicts == [1, 0, 0, 1]


def test_an_output_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"), only_run_in(tmp_path / "file"):
        pass
