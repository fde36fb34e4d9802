"""Every data set of --benchmark, as a tiny copy with the real columns: what is asked, what is correct, what is refused."""

import io
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict
from PIL import Image
from pyarrow import parquet
from tiny_datasets import FEATURES, FILES, ROWS, picture, table, write_copy

from hint_grpo.data.questions import Judging, Question
from hint_grpo.evaluation.datasets.read import NO_PICTURE, DatasetQuestions, read_dataset, write_picture
from hint_grpo.evaluation.datasets.registry import ADAPTERS
from hint_grpo.evaluation.questions import find_questions, usable_questions
from hint_grpo.evaluation.settings import EvaluationSettings
from hint_grpo.machine.errors import UserError


@pytest.fixture
def read(tmp_path: Path):
    """read(name, rows): the questions of a tiny copy."""

    def read(name: str, rows: list[dict[str, Any]] | None = None, **more: Any) -> DatasetQuestions:
        copy = write_copy(name, tmp_path / "copies" / name, rows)
        return read_dataset(ADAPTERS[name], copy, tmp_path / "images", **more)

    return read


def settings(name: str, copy: Path, output: Path, **more: Any) -> EvaluationSettings:
    return EvaluationSettings(model_path=Path("m"), data_path=copy, benchmark=name, output_dir=output, **more)


def only(found: DatasetQuestions) -> list[Question]:
    assert found.bad_rows.count == 0, found.bad_rows.first
    return found.questions


def test_there_is_a_tiny_copy_of_every_benchmark() -> None:
    assert set(ADAPTERS) == set(FEATURES) == set(ROWS) == set(FILES)


def test_mathvista(read) -> None:
    length, tallest, birds = only(read("mathvista"))
    assert [one.id for one in (length, tallest, birds)] == ["1", "2", "3"]
    assert length.question.endswith("Question: How long is the pencil? (Unit: cm)")
    assert (length.ground_truth, length.judging) == ("7.2", Judging("value", precision=1))
    assert (tallest.ground_truth, tallest.judging) == ("B", Judging("choice", ("teal", "pink", "grey")))
    assert (birds.ground_truth, birds.judging) == ("12", Judging("value"))


def test_mmstar(read) -> None:
    table_, angle = only(read("mmstar"))
    assert table_.judging == Judging(
        "choice", ("a fork, two cups", "a hat.", "a map", "nothing"), group="coarse perception"
    )
    assert (table_.ground_truth, angle.ground_truth) == ("B", "D")
    assert table_.question == f"{ROWS['mmstar'][0]['question']}\nAnswer with the letter of the right option."


def test_mathverse(read) -> None:
    text, vision, free = only(read("mathverse"))
    options = ("40°", "50°", "60°", "70°")
    assert (text.ground_truth, text.judging) == ("C", Judging("choice", options, group="Text Dominant"))
    assert vision.question == ROWS["mathverse"][1]["query_cot"]
    assert vision.judging == Judging("choice", options, group="Vision Only")
    assert (free.ground_truth, free.judging) == ("2\\sqrt{3}", Judging("value", group="Text Dominant"))


def test_mathvision(read) -> None:
    shape, coins, share = only(read("mathvision"))
    assert shape.question == "Which shape comes next?\nAnswer with the letter of the right option."
    assert (shape.ground_truth, shape.judging.options) == ("D", ("A", "B", "C", "D", "E"))
    assert coins.question == "How many coins make \\$2?"
    assert (coins.ground_truth, coins.judging) == ("8", Judging("value", group="arithmetic"))
    assert share.question == (
        "What share is grey?\nOptions:\nA. \\frac{1}{2}\nB. \\frac{1}{3}\nC. \\frac{1}{4}\n"
        "Answer with the letter of the right option."
    )


def test_mmbench(read) -> None:
    found = read("mmbench")
    clock, day = only(found)
    assert clock.question.startswith("It hangs on a wall.\nWhat is this?\nOptions:\nA. a clock\nB. a door\n")
    assert day.question.startswith("Is it day?\nOptions:\nA. yes\nB. no\nAnswer")
    assert (day.ground_truth, day.judging) == ("B", Judging("choice", ("yes", "no"), group="image_scene"))
    assert found.left_out == {"shifted copies for circular evaluation": 1}


def test_mmvet(read) -> None:
    first, second = only(read("mmvet"))
    assert (first.id, first.question, first.ground_truth) == ("v1_0", "What is x?", "-1<AND>-5")
    assert first.judging == second.judging == Judging("none")


def test_ai2d(read) -> None:
    grass, root = only(read("ai2d"))
    assert (grass.id, grass.ground_truth, grass.judging) == ("0", "C", Judging("choice", ("owl", "fox", "hare", "oak")))
    assert (root.id, root.ground_truth) == ("1", "A")


def test_hallusionbench(read) -> None:
    found = read("hallusionbench")
    above, below = only(found)
    assert (above.id, below.id) == ("VD-chart-0-1-0", "VD-chart-0-2-0")
    assert (above.ground_truth, below.ground_truth) == ("yes", "no")
    assert above.question == "Is the red line above the blue line?\nAnswer with yes or no."
    assert above.judging == Judging("yes_no", group="chart")
    assert found.left_out == {NO_PICTURE: 1}


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_pictures_are_the_data_sets_own_bytes(read, name: str) -> None:
    adapter = ADAPTERS[name]
    asked = {question.id: question for question in only(read(name))}
    used = [row for row in ROWS[name] if row[adapter.image] and not (adapter.leave_out and adapter.leave_out(row))]
    assert len(asked) == len(used)
    for question, row in zip(asked.values(), used, strict=True):
        assert Path(question.image).read_bytes() == row[adapter.image]["bytes"]
        with Image.open(question.image) as opened:
            assert opened.size == (84, 84)


def test_equal_pictures_are_one_file_and_a_second_read_writes_none(read, tmp_path: Path) -> None:
    one, two, three = only(read("mathvista"))
    assert one.image == three.image != two.image
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "images").iterdir()}
    assert sorted(file.suffix for file in files) == [".jpeg", ".png"]
    assert [question.image for question in only(read("mathvista"))] == [one.image, two.image, three.image]
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "images").iterdir()} == files


@pytest.mark.parametrize(
    ("kind", "path", "ending"),
    [
        ("PNG", None, ".png"),
        ("PNG", "1.jpg", ".png"),
        ("JPEG", "1.JPEG", ".jpeg"),
        ("JPEG", "1.png", ".jpg"),
        ("WEBP", "1", ".webp"),
        ("GIF", None, ".gif"),
        ("BMP", None, ".bmp"),
        ("TIFF", "1.tif", ".tif"),
        ("PPM", "1.ppm", ".ppm"),
        ("PPM", None, ".img"),
    ],
)
def test_a_picture_has_the_ending_of_its_format(kind: str, path: str | None, ending: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (30, 30)).save(content, kind)
    file = write_picture({"bytes": content.getvalue(), "path": path}, tmp_path / "images")
    assert file.suffix == ending
    assert file.read_bytes() == content.getvalue()


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_a_missing_column_is_one_line_with_the_columns_there(name: str, tmp_path: Path) -> None:
    for column in ADAPTERS[name].columns:
        copy = write_copy(name, tmp_path / column, without=column)
        with pytest.raises(UserError) as error:
            find_questions(settings(name, copy, tmp_path / "output"))
        there = [other for other in FEATURES[name] if other != column]
        assert f"has no column {column}; its columns are {', '.join(there)}" in str(error.value)
    assert not (tmp_path / "output").exists()


def test_a_column_of_another_kind_is_one_line(tmp_path: Path) -> None:
    rows = [row | {"image": "images/1.png"} for row in ROWS["ai2d"]]
    file = tmp_path / "copy" / FILES["ai2d"]
    file.parent.mkdir(parents=True)
    table("ai2d", without="image").add_column("image", [row["image"] for row in rows]).to_parquet(file)
    with pytest.raises(UserError, match=r"column image of .*copy holds .*string.*, not pictures"):
        find_questions(settings("ai2d", tmp_path / "copy", tmp_path / "output"))


def test_rows_that_cannot_be_asked_are_named(read) -> None:
    good = ROWS["ai2d"][0]
    found = read("ai2d", [good, good | {"answer": "4"}, good | {"answer": None}, good | {"question": " "}, good])
    assert [question.id for question in found.questions] == ["0", "4"]
    assert found.bad_rows.first == [
        "ai2d row 1: its answer '4' is not an index of its 4 options",
        'ai2d row 2: "answer" is empty',
        'ai2d row 3: "question" is empty',
    ]
    assert read("mathvista", [ROWS["mathvista"][1] | {"answer": "mauve"}]).bad_rows.count == 1
    assert read("mmstar", [ROWS["mmstar"][0] | {"answer": "F"}]).bad_rows.count == 1
    assert read("hallusionbench", [ROWS["hallusionbench"][0] | {"gt_answer": "2"}]).bad_rows.count == 1


def test_a_broken_picture_ends_the_run_unless_skipped(tmp_path: Path) -> None:
    broken = {"bytes": picture("red")["bytes"][:60], "path": "red.png"}
    page = {"bytes": b"<html>not found</html>", "path": None}
    rows = [ROWS["ai2d"][0], ROWS["ai2d"][1] | {"image": broken}, ROWS["ai2d"][1] | {"image": page}]
    copy = write_copy("ai2d", tmp_path / "copy", rows)
    found = find_questions(settings("ai2d", copy, tmp_path / "output"))
    assert (len(found.questions), found.num_bad) == (1, 2)
    assert found.places[0].startswith("ai2d row 1: images/")
    assert "HTML page" in found.places[1]
    with pytest.raises(
        UserError, match=r"2 questions of --benchmark ai2d cannot be asked, first ai2d row 1: .*--skip_bad"
    ):
        usable_questions(settings("ai2d", copy, tmp_path / "output"))
    assert len(find_questions(settings("ai2d", copy, tmp_path / "output", no_image=True)).questions) == 3


def test_left_out_rows_do_not_end_a_run_and_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = write_copy("hallusionbench", tmp_path / "copy")
    usable = usable_questions(settings("hallusionbench", copy, tmp_path / "output"))
    assert (len(usable.questions), usable.num_skipped) == (2, 1)
    assert "--benchmark hallusionbench: 1 left out: rows without a picture" in capsys.readouterr().err


def test_limit_and_a_blind_run(read, tmp_path: Path) -> None:
    assert [question.id for question in only(read("mathvision", limit=2, with_image=False))] == ["4", "5"]
    assert not (tmp_path / "images").exists()


def test_a_repeated_id_is_renamed(read) -> None:
    assert [question.id for question in only(read("mmvet", ROWS["mmvet"][:1] * 2))] == ["v1_0", "v1_0~2"]


def test_saved_data_sets_and_single_files(tmp_path: Path) -> None:
    saved, one_split = tmp_path / "saved", tmp_path / "one_split"
    DatasetDict({"test": table("ai2d", ROWS["ai2d"][:1]), "testmini": table("ai2d")}).save_to_disk(saved)
    table("ai2d").save_to_disk(one_split)
    file = write_copy("ai2d", tmp_path / "copy") / FILES["ai2d"]
    images = tmp_path / "images"
    assert [len(only(read_dataset(ADAPTERS["ai2d"], place, images))) for place in (saved, one_split, file)] == [
        1,
        2,
        2,
    ]
    with pytest.raises(UserError, match=r"has no split val; it has test, testmini"):
        read_dataset(ADAPTERS["mmstar"], saved, images)


def test_plain_parquet_without_the_librarys_own_notes(tmp_path: Path) -> None:
    """Pictures are then structs of bytes and path, as any other program would write them."""
    file = write_copy("mmvet", tmp_path / "copy") / FILES["mmvet"]
    parquet.write_table(parquet.read_table(file).replace_schema_metadata(None), file)
    first, _ = only(read_dataset(ADAPTERS["mmvet"], tmp_path / "copy", tmp_path / "images"))
    assert Path(first.image).read_bytes() == ROWS["mmvet"][0]["image"]["bytes"]


def test_the_file_of_the_split_is_found_among_others(tmp_path: Path) -> None:
    images, copy = tmp_path / "images", tmp_path / "copy"
    write_copy("mmbench", copy)
    for other in ("cn/dev-00000-of-00001.parquet", "en/test-00000-of-00001.parquet"):
        (copy / other).parent.mkdir(exist_ok=True)
        (copy / other).write_bytes(b"another file")
    assert len(read_dataset(ADAPTERS["mmbench"], copy, images).questions) == 2
    (copy / "en/dev-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"no file of the split dev, but .*test-00000"):
        read_dataset(ADAPTERS["mmbench"], copy, images)


@pytest.mark.parametrize("kind", ["nowhere", "empty", "damaged"])
def test_a_copy_that_cannot_be_read_is_one_line(tmp_path: Path, kind: str) -> None:
    copy = tmp_path / kind
    if kind != "nowhere":
        copy.mkdir()
    if kind == "damaged":
        (copy / "testmini.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(UserError, match=rf"{kind}.*hf download AI4Math/MathVerse --repo-type dataset"):
        read_dataset(ADAPTERS["mathverse"], copy, tmp_path / "images")


def test_the_hub_without_a_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    # With a network the data set is looked for, and refused by the offline switch; without one the Hub is not reached at all.
    refused = r"lmms-lab/ai2d \(split test\) cannot be read: .*--data_path DIR"
    unreachable = r"Hub cannot be reached .*hf download lmms-lab/ai2d --repo-type dataset .*--data_path DIR"
    with pytest.raises(UserError, match=f"{refused}|{unreachable}"):
        read_dataset(ADAPTERS["ai2d"], None, tmp_path / "images")
