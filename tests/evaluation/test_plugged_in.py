"""--benchmark and --scorer by path: a data set and a judge from a file outside the package."""

from pathlib import Path

import pytest
from tiny_datasets import picture

from hint_grpo.data.questions import Judging, Question
from hint_grpo.evaluation.cli import parse, settings_from
from hint_grpo.evaluation.datasets.registry import ADAPTERS, adapter_of
from hint_grpo.evaluation.judging import is_judged_correct, judge_answer, try_protocol
from hint_grpo.evaluation.pool import Pool
from hint_grpo.evaluation.questions import find_questions
from hint_grpo.evaluation.rescore import rescore
from hint_grpo.evaluation.results import RESULTS_FILE, Answer, Result, write_results
from hint_grpo.evaluation.run import run_evaluation
from hint_grpo.evaluation.settings import EvaluationSettings, default_output
from hint_grpo.machine.errors import UserError

FILE = """
from hint_grpo.evaluation.datasets.adapter import Adapter
CLOCKS = Adapter(name="clocks", hub_id="me/clocks", split="test", question="q", answer="a", judge="value", image="photo")
def starts_alike(completion, solution): return completion[:1] == solution[:1]
def unfinished(completion, solution): return float(completion)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FILE)
    return str(tmp_path / "mine.py")


def test_a_data_set_of_ones_own_is_read_and_asked(file: str, tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    features = Features({"q": Value("string"), "a": Value("string"), "photo": Image()})
    rows = [{"q": "What time?", "a": "3", "photo": picture("red")}, {"q": "", "a": "4", "photo": picture("blue")}]
    Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "copy")
    words = ["--model_path", "m", "--benchmark", f"{file}:CLOCKS", "--data_path", str(tmp_path / "copy")]
    settings = settings_from(parse([*words, "--output_dir", str(tmp_path / "out")]))
    found = find_questions(settings)
    (question,) = found.questions
    assert (question.question, question.ground_truth, question.judging.judge) == ("What time?", "3", "value")
    assert found.places == ['clocks row 1: "q" is empty']
    assert default_output(Path("m"), None, f"{file}:CLOCKS").name == "clocks"


def test_names_and_paths_of_data_sets(file: str) -> None:
    assert adapter_of("ai2d") is ADAPTERS["ai2d"]
    assert adapter_of(f"{file}:CLOCKS").name == "clocks"
    for benchmark, message in (
        ("geo", "--benchmark geo is not known: choose one of mathvista"),
        (f"{file}:starts_alike", "it is a function; give an Adapter"),
        (f"{file}:CLOCK", r"has no CLOCK; did you mean CLOCKS\?"),
        ("nowhere.py:X", "there is no file nowhere.py"),
    ):
        with pytest.raises(UserError, match=message):
            parse(["--model_path", "m", "--benchmark", benchmark])


def test_a_scorer_decides_accuracy_for_every_kind_but_none(file: str) -> None:
    scorer = f"{file}:starts_alike"
    for judge in ("value", "choice", "yes_no"):
        assert is_judged_correct("3 o'clock", "30", Judging(judge), scorer)
        assert not is_judged_correct("</think><answer>30</answer>", "30", Judging(judge), scorer)
    assert not is_judged_correct("3", "3", Judging("none"), scorer)
    question = Question("1", "", "", "Q", "30", "f:1")
    result = judge_answer(question, Answer("3 o'clock", 2, "stop"), scorer)
    assert (result.correct_paper, result.correct_strict) == (True, False)


def test_stored_answers_are_scored_again_by_it(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "scale-0.0"
    folder.mkdir()
    write_results(folder / RESULTS_FILE, [Result("1", "a.png", "Q", "30", "3 o'clock", None, False, False, 2, "stop")])
    (summary,) = rescore(tmp_path, protocol=f"{file}:starts_alike")
    assert summary.num_correct_paper == 1
    (again,) = rescore(tmp_path)  # the run's own protocol is kept
    assert again.num_correct_paper == 1


def test_mistakes_in_a_scorer(file: str) -> None:
    words = ["--model_path", "m", "--benchmark", "ai2d"]
    assert settings_from(parse([*words, "--scorer", f"{file}:starts_alike"])).protocol == f"{file}:starts_alike"
    with pytest.raises(UserError, match=r"'strict': give a function as file.py:name"):
        parse([*words, "--scorer", "strict"])
    with pytest.raises(UserError, match="it is a Adapter; give a function"):
        settings_from(parse([*words, "--scorer", f"{file}:CLOCKS"]))


def test_a_scorer_that_fails_is_found_before_a_model_loads(
    file: str, world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "run", lambda *_: pytest.fail("a model would load now"))
    settings = EvaluationSettings(
        model_path=world.models["Qwen2.5-VL"],
        data_path=world.test_data,
        prompt_path=world.test_prompts,
        output_dir=tmp_path / "out",
        protocol=f"{file}:unfinished",
    )
    with pytest.raises(UserError, match=r"unfinished: fails on .*: mine.py:5: ValueError"):
        run_evaluation(settings, show_progress=False)


def test_a_scorer_is_not_tried_on_what_it_does_not_judge(file: str) -> None:
    judged_elsewhere = Question("1", "", "", "Q", "", "f:1", Judging("none"))
    try_protocol(f"{file}:unfinished", judged_elsewhere)
    with pytest.raises(UserError, match="unfinished: fails on"):
        try_protocol(f"{file}:unfinished", Question("1", "", "", "Q", "30", "f:1"))
