"""Which questions a run asks: GeoQA rows, counting rows, and everything that cannot be asked."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.evaluation.questions import UsableQuestions, find_questions, usable_questions
from hint_grpo.evaluation.settings import EvaluationSettings
from hint_grpo.machine.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("images/test/0.png", "images/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (56, 56), "white").save(folder / name)
    return folder


def question_file(data: Path, *rows: object) -> Path:
    path = data.parent / "questions.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(image_path: str = "./Geo170K/images/test/0.png", gold: object = "50°", **more: object) -> dict[str, object]:
    return {"image_path": image_path, "question": "How large is angle A?", "ground_truth": gold, **more}


def usable(prompts: Path, data: Path, **more: bool | int) -> UsableQuestions:
    return usable_questions(EvaluationSettings(model_path=Path("m"), data_path=data, prompt_path=prompts, **more))  # type: ignore[arg-type]


def test_geoqa_and_counting_rows(data: Path) -> None:
    asked = usable(question_file(data, row(), row("./images/a.png", 4), row(id="own")), data).questions
    assert [question.ground_truth for question in asked] == ["50°", "4", "50°"]
    assert asked[0].image == str(data.resolve() / "images/test/0.png")
    assert asked[1].image == str(data.resolve() / "images/a.png")
    assert asked[1].image_path == "./images/a.png"
    assert asked[2].id == "own"
    assert len({question.id for question in asked}) == 3


def test_limit_keeps_the_first_rows(data: Path) -> None:
    path = question_file(data, row(id="a"), row(id="b"), row(id="c"))
    assert [question.id for question in usable(path, data, limit=2).questions] == ["a", "b"]


def test_rows_beyond_the_limit_are_not_looked_at(data: Path) -> None:
    path = question_file(data, row(id="a"), row(id="b"), "{broken")
    assert len(usable(path, data, limit=2).questions) == 2
    with pytest.raises(UserError, match="1 questions"):
        usable(path, data)


def test_repeated_ids_are_asked_and_reported(data: Path, capsys) -> None:
    path = question_file(data, row(), row(), row(id="x"))
    assert len(usable(path, data).questions) == 3
    assert "1 repeated ids" in capsys.readouterr().err


@pytest.mark.parametrize("blank", ["question", "ground_truth"])
def test_a_blank_question_or_ground_truth_is_a_bad_row(data: Path, blank: str) -> None:
    path = question_file(data, row(id="a"), {**row(id="b"), blank: " "})
    with pytest.raises(UserError, match="is empty"):
        usable(path, data)


def test_what_cannot_be_asked_ends_the_run(data: Path) -> None:
    (data / "images" / "empty.png").write_bytes(b"")
    (data / "images" / "page.png").write_text("<html>not found</html>")
    (data.parent / "outside.png").write_bytes((data / "images/a.png").read_bytes())
    (data / "images" / "link.png").symlink_to(data.parent / "outside.png")
    bad_rows = [
        "{broken",
        {"image_path": "a.png", "question": "no ground truth"},
        row("./Geo170K/../../outside.png"),
        row("./images/gone.png"),
        row("./images/empty.png"),
        row("./images/page.png"),
        row("./images/link.png"),
    ]
    path = question_file(data, row(id="first"), *bad_rows, row("./images/a.png", id="last"))
    settings = EvaluationSettings(model_path=Path("m"), data_path=data, prompt_path=path)
    found = find_questions(settings)
    assert [question.id for question in found.questions] == ["first", "last"]
    assert found.num_bad == 7
    with pytest.raises(UserError, match=r"7 questions .* questions\.jsonl:2: not JSON.*--skip_bad"):
        usable(path, data)


def test_a_check_reports_how_many_more_cannot_be_asked(data: Path) -> None:
    path = question_file(data, row(), *["{broken"] * 8)
    lines = find_questions(EvaluationSettings(model_path=Path("m"), data_path=data, prompt_path=path)).bad_lines()
    assert [line.strip().partition(": ")[0] for line in lines] == [
        *(f"questions.jsonl:{line}" for line in range(2, 7)),
        "and 3 more",
    ]


def test_pictures_beyond_the_limit_may_be_missing(data: Path) -> None:
    path = question_file(data, row(id="a"), row("./images/gone.png"))
    assert [question.id for question in usable(path, data, limit=1).questions] == ["a"]


def test_a_blind_run_opens_no_picture(data: Path) -> None:
    (data / "images" / "page.png").write_text("<html>not found</html>")
    path = question_file(data, row("./images/page.png"))
    assert len(usable(path, data, no_image=True).questions) == 1


@pytest.mark.parametrize("rows", [[], [row("./images/gone.png")]])
def test_no_question_at_all_is_an_error(data: Path, rows: list[object]) -> None:
    with pytest.raises(UserError, match="no question"):
        usable(question_file(data, *rows), data, skip_bad=True)


def test_the_message_for_a_missing_geoqa_file_names_its_source(data: Path) -> None:
    with pytest.raises(UserError, match=r"Deep-Agent/R1-V.*src/eval/prompts/geoqa_test_prompts\.jsonl.*README"):
        usable(data / "geoqa_test_prompts.jsonl", data)


def test_a_missing_data_folder_is_named(data: Path) -> None:
    with pytest.raises(UserError, match="--data_path"):
        usable(question_file(data, row()), data / "nowhere")


@pytest.mark.parametrize(
    ("file", "count"), [("geoqa_test_prompts.jsonl", 754), ("superclevr_test200_counting_problems.jsonl", 200)]
)
def test_the_real_files(shared_data: Path, tmp_path: Path, file: str, count: int) -> None:
    """Every row is read, its ground truth as text, its picture where Geo170K or SuperCLEVR have it."""
    from hint_grpo.data.questions import read_questions

    rows = [json.loads(line) for line in (shared_data / "geoqa" / file).read_text(encoding="utf-8").splitlines()]
    for one in rows:
        place = tmp_path / one["image_path"].removeprefix("./").removeprefix("Geo170K/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"here")
    found = read_questions(shared_data / "geoqa" / file, tmp_path)
    assert (len(found.questions), found.num_unusable) == (count, 0)
    assert [question.ground_truth for question in found.questions] == [str(one["ground_truth"]) for one in rows]
    assert len({question.id for question in found.questions}) == count
