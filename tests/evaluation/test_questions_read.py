"""Question files: GeoQA rows, counting rows, paths, and everything that cannot be asked."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.errors import UserError
from hint_grpo.evaluation.questions import path_in_data, read_questions, without_bad_images


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("images/test/0.png", "images/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (56, 56), "white").save(folder / name)
    return folder


def question_file(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "questions.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(image_path: str = "./Geo170K/images/test/0.png", gold: object = "50°", **more: object) -> dict[str, object]:
    return {"image_path": image_path, "question": "How large is angle A?", "ground_truth": gold, **more}


@pytest.mark.parametrize(
    ("image_path", "inside"),
    [
        ("./Geo170K/images/test/0.png", "images/test/0.png"),
        ("/somewhere/Geo170K/images/test/0.png", "images/test/0.png"),
        ("Geo170K/images/x.png", "images/x.png"),
        ("./images/x.png", "./images/x.png"),
        ("images/MyGeo170K/x.png", "images/MyGeo170K/x.png"),
    ],
)
def test_what_stands_behind_geo170k_is_relative_to_the_data_path(image_path: str, inside: str) -> None:
    assert path_in_data(image_path) == inside


def test_geoqa_and_counting_rows(tmp_path: Path, data: Path) -> None:
    path = question_file(tmp_path, row(), row("./images/a.png", 4), row(id="own"))
    questions = without_bad_images(read_questions(path, data), data).questions
    assert [question.id for question in questions] == ["0", "1", "own"]
    assert [question.ground_truth for question in questions] == ["50°", "4", "50°"]
    assert questions[0].image == str(data.resolve() / "images/test/0.png")
    assert questions[1].image == str(data.resolve() / "images/a.png")
    assert questions[1].image_path == "./images/a.png"


def test_limit_takes_the_first_rows(tmp_path: Path, data: Path) -> None:
    path = question_file(tmp_path, row(), row(), row())
    assert [question.id for question in read_questions(path, data, limit=2).questions] == ["0", "1"]


def test_rows_that_cannot_be_asked_are_noted_with_their_place(tmp_path: Path, data: Path) -> None:
    (data / "images" / "empty.png").write_bytes(b"")
    (data / "images" / "page.png").write_text("<html>not found</html>")
    (tmp_path / "outside.png").write_bytes((data / "images/a.png").read_bytes())
    (data / "images" / "link.png").symlink_to(tmp_path / "outside.png")
    path = question_file(
        tmp_path,
        row(),
        "{broken",
        {"image_path": "a.png", "question": "no ground truth"},
        row(gold=" "),
        row("./Geo170K/../../outside.png"),
        row("./images/gone.png"),
        row("./images/empty.png"),
        row("./images/page.png"),
        row("./images/link.png"),
        row("./images/a.png"),
    )
    usable = without_bad_images(read_questions(path, data), data)
    assert [question.id for question in usable.questions] == ["0", "9"]  # the ids of the others stay theirs
    assert usable.bad.count == 8
    assert usable.bad.first[0].startswith("questions.jsonl:2: not JSON")


def test_the_same_id_twice_is_an_error(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        read_questions(question_file(tmp_path, row(id="a"), row(id="a")), data)


def test_a_missing_geoqa_file_says_where_it_comes_from(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match=r"Deep-Agent/R1-V.*src/eval/prompts/geoqa_test_prompts\.jsonl.*README"):
        read_questions(tmp_path / "geoqa_test_prompts.jsonl", data)


def test_a_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data_path"):
        read_questions(question_file(tmp_path, row()), tmp_path / "nowhere")


def test_the_real_files(shared_data: Path) -> None:
    """The 754 GeoQA rows and 200 counting rows: read whole, ground truths as text."""
    geoqa = read_questions(shared_data / "geoqa/geoqa_test_prompts.jsonl", shared_data / "geoqa/Geo170K")
    assert (len(geoqa.questions), geoqa.bad.count) == (754, 0)
    assert all(Path(question.image).name == f"{question.id}.png" for question in geoqa.questions)
    counting = read_questions(
        shared_data / "geoqa/superclevr_test200_counting_problems.jsonl", shared_data / "geoqa/Geo170K"
    )
    assert (len(counting.questions), counting.bad.count) == (200, 0)
    assert all(question.ground_truth.isdecimal() for question in counting.questions)
