"""Evaluation questions: ground truths stay text, image paths are found, nothing is left out silently."""

from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.data.questions import read_questions, relative_to_data
from hint_grpo.machine.errors import UserError
from hint_grpo.scoring import score


@pytest.fixture
def geo170k(tmp_path: Path) -> Path:
    root = tmp_path / "anywhere"
    (root / "images/test").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (40, 30)).save(root / f"images/test/{number}.png")
    return root


def row(number: int, ground_truth: object = "140°", **more: object) -> dict[str, object]:
    return {
        "image_path": f"./Geo170K/images/test/{number}.png",
        "question": "How?",
        "ground_truth": ground_truth,
        **more,
    }


def test_rows_in_order_with_their_images(geo170k: Path, tmp_path: Path, write_jsonl) -> None:
    file = write_jsonl(tmp_path / "prompts.jsonl", [row(0), row(1, 4), row(2, "3\\sqrt{2}", id="mine")])
    found = read_questions(file, geo170k)
    assert [question.ground_truth for question in found.questions] == ["140°", "4", "3\\sqrt{2}"]
    assert [question.id for question in found.questions] == [
        "./Geo170K/images/test/0.png",
        "./Geo170K/images/test/1.png",
        "mine",
    ]
    assert found.questions[0].image == str(geo170k.resolve() / "images/test/0.png")
    assert found.questions[0].image_path == "./Geo170K/images/test/0.png"
    assert found.questions[2].source == "prompts.jsonl:3"
    assert found.num_unusable == 0
    assert found.lines() == ["prompts.jsonl: 3 questions"]


def test_an_integer_ground_truth_scores_like_any_other(geo170k: Path, tmp_path: Path, write_jsonl) -> None:
    file = write_jsonl(tmp_path / "prompts.jsonl", [row(0, 4), row(1, 12)])
    golds = [question.ground_truth for question in read_questions(file, geo170k).questions]
    assert golds == ["4", "12"]
    assert [score("<think>a</think><answer>12</answer>", gold) for gold in golds] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("./Geo170K/images/test/0.png", "images/test/0.png"),
        ("Geo170K/images/test/0.png", "images/test/0.png"),
        ("/".join([".", "data", "Geo170K", "images/test/0.png"]), "images/test/0.png"),
        ("./images/superCLEVR_new_025000.png", "images/superCLEVR_new_025000.png"),
        ("images/Geo170K", "images/Geo170K"),
    ],
)
def test_image_paths_relative_to_the_data_folder(path: str, relative: str) -> None:
    assert relative_to_data(path) == relative


def test_bad_rows_are_listed_and_skipped(geo170k: Path, tmp_path: Path, write_jsonl) -> None:
    bad = [
        {**row(0), "image_path": "./Geo170K/../../outside.png"},
        row(7),
        {"question": "How?", "ground_truth": "4"},
        row(1, None),
        row(1, ["4"]),
    ]
    found = read_questions(write_jsonl(tmp_path / "prompts.jsonl", [row(0), *bad, row(0)]), geo170k)
    assert [question.id for question in found.questions] == [
        "./Geo170K/images/test/0.png",
        "./Geo170K/images/test/0.png~2",
    ]
    assert [place.split(": ")[0] for place in found.bad_images.first] == ["prompts.jsonl:2", "prompts.jsonl:3"]
    assert [place.split(": ")[0] for place in found.bad_lines.first] == [f"prompts.jsonl:{line}" for line in (4, 5, 6)]
    assert found.duplicates.count == 1
    assert found.num_unusable == 5
    assert "questions without their image, skipped: 2" in "\n".join(found.lines())


def test_without_pictures_missing_files_do_not_matter_but_escapes_do(
    geo170k: Path, tmp_path: Path, write_jsonl
) -> None:
    rows = [row(7), {**row(0), "image_path": "/etc/passwd"}]
    found = read_questions(write_jsonl(tmp_path / "prompts.jsonl", rows), geo170k, look_for_images=False)
    assert [question.source for question in found.questions] == ["prompts.jsonl:1"]
    assert found.bad_images.count == 1


def test_missing_file_and_folder(geo170k: Path, tmp_path: Path, write_jsonl) -> None:
    with pytest.raises(UserError, match="eval/prompts/README"):
        read_questions(tmp_path / "none.jsonl", geo170k)
    with pytest.raises(UserError, match="not a folder"):
        read_questions(write_jsonl(tmp_path / "prompts.jsonl", [row(0)]), tmp_path / "none")
