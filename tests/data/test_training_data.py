"""load_training_data: files to a data set on disk, the report, the cache."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from PIL import Image

from hint_grpo.data import dataset as dataset_module
from hint_grpo.data.dataset import load_training_data
from hint_grpo.data.samples import DataReport, Filter
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.paper import Adaptive, Fixed, NoHints, Random

LONG = " ".join(["The angle is 40°."] * 200)


class CharacterTokenizer:
    """Counts a token per character, and how many texts it was asked for."""

    name_or_path = "characters"

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 256

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        self.asked += len(texts)
        return {"input_ids": [[0] * len(text) for text in texts]}


@pytest.fixture
def records(make_record, make_answer):
    return [
        make_record("a", "How many?", make_answer("Row 1 has 1. Row 2 has 2.", "3")),
        make_record("b", "Angle?\nA. 30°\nB. 45°", make_answer("It is 45.", "B"), "CLEVR_v1.0/images/train/2.png"),
        make_record("c", "Other part?", make_answer("One.", "1"), "coco/3.png"),
        make_record("a", "How many again?", make_answer("One. Two. Three.", "3")),
        make_record("d", "Long?", make_answer(LONG, "40")),
        make_record("e", "Missing?", make_answer("One.", "1"), "geoqa+/images/none.png"),
        make_record("f", "Out?", make_answer("One.", "1"), "geoqa+/../../outside.png"),
        make_record("g", "Yes?", make_answer("One.", "yes")),
        make_record("h", "Nothing?", "<CONCLUSION> 5 </CONCLUSION>"),
    ]


@pytest.fixture
def load(data_root, tmp_path):
    return lambda name="LLaVA-CoT-100k", **options: load_training_data(
        data_root, name, **{"cache_dir": tmp_path / "cache", **options}
    )


def test_every_question_is_a_sample_or_counted(load, data_root, records, write_jsonl) -> None:
    file = write_jsonl(data_root / "train.jsonl", records)
    with file.open("a") as more:
        more.write("not json\n")
    dataset, report = load(tokenizer=CharacterTokenizer())
    assert isinstance(dataset, Dataset)
    assert dataset.column_names == ["id", "image", "question", "solution", "reasoning_steps", "source", "extra"]
    assert dataset["id"][:] == ["a", "b", "a~2", "h"]
    assert dataset[1] == {
        "id": "b",
        "image": str(data_root.resolve() / "CLEVR_v1.0/images/train/2.png"),
        "question": "Angle?",
        "solution": "45°",
        "reasoning_steps": ["It is 45."],
        "source": "train.jsonl:2",
        "extra": "",
    }
    assert {name: places.count for name, places in report.filters.items()} == {
        Filter.OTHER_IMAGES: 1,
        Filter.REASONING_TOO_LONG: 1,
        Filter.IMAGE_MISSING: 1,
        Filter.IMAGE_OUTSIDE: 1,
        Filter.NO_NUMBER: 1,
    }
    assert report.questions == report.samples + sum(places.count for places in report.filters.values()) == 9
    assert report.filters[Filter.REASONING_TOO_LONG].first == ["train.jsonl:5"]
    assert report.bad_lines.first == ["train.jsonl:10: not JSON (Expecting value at column 1)"]
    assert report.duplicates.first == ["train.jsonl:4: id 'a' again"]
    assert report.samples_by_steps == {0: 1, 1: 1, 2: 1, 3: 1}
    assert report.num_unusable == 3  # the bad line, the missing image, the one outside


def test_samples_that_never_get_a_hint() -> None:
    report = DataReport("train.jsonl", samples_by_steps={0: 3, 1: 5, 2: 7, 3: 11})
    assert report.never_hinted(Adaptive(1)) == 26
    assert report.never_hinted(Adaptive(2)) == 8  # floor(2 * 1 / 2) = 1
    assert report.never_hinted(Adaptive(3)) == 8  # floor(2 * 2 / 3) = 1
    assert report.never_hinted(Fixed(0.4)) == 15  # floor(2 * 0.4) = 0, floor(3 * 0.4) = 1
    assert report.never_hinted(Random()) == 8
    assert "too few steps to get a hint: 15" in report.lines(Fixed(0.4))[-1]
    for plain in (NoHints(), Adaptive(1)):
        assert "hint" not in "\n".join(report.lines(plain)), "plain GRPO gives none to anybody"


def test_the_report_prints_what_it_counted(load, data_root, records, write_jsonl) -> None:
    write_jsonl(data_root / "train.jsonl", records)
    _, report = load()
    text = "\n".join(report.lines(Adaptive(3)))
    for part in (
        "train.jsonl: 9 records, 9 questions, 5 samples used",
        "left out 1: image is not of the chosen part [geoqa+/, CLEVR_v1.0/] (train.jsonl:3)",
        "left out 1: image file is missing (train.jsonl:6)",
        "duplicate ids, renamed: 1",
        "llavacot_geometry.jsonl is not in the data folder",
        "reasoning length was not checked",
        "samples by number of steps: 0: 1, 1: 1, 2: 1, 3: 1, more than 12: 1",
        "samples with too few steps to get a hint: 2",
    ):
        assert part in text
    assert DataReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_the_report_says_how_many_more_there_are(
    load, data_root, make_record, make_answer, records, write_jsonl
) -> None:
    missing = [make_record(f"m{i}", "How?", make_answer("One.", "1"), "geoqa+/none.png") for i in range(7)]
    file = write_jsonl(data_root / "train.jsonl", [records[0], *missing])
    with file.open("a") as more:
        more.write("not json\n" * 8)
    text = "\n".join(load()[1].lines())
    assert "image file is missing (train.jsonl:2, train.jsonl:3, train.jsonl:4 and 4 more)" in text
    assert "bad lines, skipped: 8" in text
    assert "train.jsonl:13: not JSON (Expecting value at column 1)\n    and 3 more" in text


def test_compressed_and_pointer_files_are_named(load, data_root) -> None:
    (data_root / "train.jsonl").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(UserError, match="gunzip"):
        load()
    (data_root / "train.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="git lfs pull"):
        load()


def test_the_authors_file_is_preferred_and_named(load, data_root, records, write_jsonl) -> None:
    write_jsonl(data_root / "train.jsonl", records[:1])
    write_jsonl(data_root / "llavacot_geometry.jsonl", records[:2])
    dataset, report = load()
    assert len(dataset) == 2
    assert report.lines()[0].startswith("llavacot_geometry.jsonl:")
    assert load("train.jsonl")[1].file == "train.jsonl"


def test_own_files_of_either_schema(load, data_root, tmp_path, records, write_jsonl) -> None:
    own = {"image": "coco/3.png", "question": "How many?", "solution": 4, "reasoning_steps": ["One.", "Two."]}
    write_jsonl(data_root / "own.jsonl", [own, records[2]])
    dataset, report = load("own.jsonl")
    assert dataset["solution"][:] == ["4", "1"]  # no part is chosen for a file of one's own
    assert report.filters == {}
    elsewhere = write_jsonl(tmp_path / "elsewhere.jsonl", [own])
    assert len(load(str(elsewhere))[0]) == 1
    assert load("own.jsonl", image_prefixes=["geoqa+/"])[0]["source"][:] == ["own.jsonl:1"]


def test_only_reasoning_that_may_be_too_long_is_tokenised(
    load, data_root, make_record, make_answer, write_jsonl
) -> None:
    texts = {"short": "x" * 511, "long": "y" * 512, "wide": "角" * 171, "huge": "z" * 60_000}
    write_jsonl(data_root / "train.jsonl", [make_record(k, "How many?", make_answer(v, "3")) for k, v in texts.items()])
    tokenizer = CharacterTokenizer()
    dataset, report = load(tokenizer=tokenizer)
    assert dataset["id"][:] == ["short", "wide"]
    assert report.filters[Filter.REASONING_TOO_LONG].count == 2
    assert (
        tokenizer.asked == 2
    )  # "long" and "wide" (513 bytes, more after Unicode normalisation); "huge" needs no count


def test_a_second_start_reads_nothing_again(load, data_root, records, write_jsonl, monkeypatch) -> None:
    write_jsonl(data_root / "train.jsonl", records)
    first, first_report = load()

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(dataset_module, "read_jsonl", fail)
    second, second_report = load()
    assert second.to_dict() == first.to_dict()
    assert second_report == first_report
    with pytest.raises(AssertionError, match="read again"):
        load(keep_multiple_choice=True)
    with pytest.raises(AssertionError, match="read again"):
        load(tokenizer=CharacterTokenizer())


def test_a_changed_file_is_read_again(load, data_root, records, write_jsonl) -> None:
    file = write_jsonl(data_root / "train.jsonl", records)
    before = load()[1]
    write_jsonl(file, records[:2])
    after = load()[1]
    assert (before.records, after.records) == (9, 2)
    assert before.content_hash != after.content_hash
    write_jsonl(data_root / "copy.jsonl", records[:2])
    assert load("copy.jsonl")[1].content_hash == after.content_hash


def test_images_are_looked_for_on_every_start(load, data_root, records, write_jsonl) -> None:
    """Unpacking the rest of the archive must not be hidden by the cache."""
    write_jsonl(data_root / "train.jsonl", records)
    assert "e" not in load()[0]["id"][:]
    late = data_root / "geoqa+/images/none.png"
    late.touch()
    assert load()[1].filters[Filter.IMAGE_EMPTY].count == 1
    Image.new("RGB", (30, 30)).save(late)
    dataset, report = load()
    assert "e" in dataset["id"][:]
    assert Filter.IMAGE_MISSING not in report.filters
    assert dataset[-1]["id"] == "h"


def test_an_unfinished_cache_folder_is_never_read(load, data_root, tmp_path, records, write_jsonl, monkeypatch) -> None:
    write_jsonl(data_root / "train.jsonl", records)

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset_module, "write_samples", killed)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    assert len(load()[0]) == 5


def test_ranks_that_start_at_once_get_the_same_data(data_root, tmp_path, records, write_jsonl) -> None:
    write_jsonl(data_root / "train.jsonl", records * 50)
    code = (
        "import sys; from hint_grpo.data.dataset import load_training_data as load; "
        "dataset, report = load(sys.argv[1], cache_dir=sys.argv[2]); print(len(dataset), report.content_hash)"
    )
    command = [sys.executable, "-c", code, str(data_root), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(Path(dataset_module.__file__).parents[2])}
    ranks = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outputs = {rank.communicate()[0] for rank in ranks}
    assert all(rank.returncode == 0 for rank in ranks)
    assert len(outputs) == 1
    assert outputs.pop().startswith("250 ")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_mistakes_get_one_line_with_the_cure(load, data_root, tmp_path, records, write_jsonl) -> None:
    def message(*arguments: object, **options: object) -> str:
        with pytest.raises(UserError) as error:
            load_training_data(*arguments, **{"cache_dir": tmp_path / "cache", **options})
        return str(error.value)

    assert "not a folder" in message(tmp_path / "none")
    assert "download Xkev/LLaVA-CoT-100k" in message(data_root)
    assert "unknown --dataset_name 'geo3k'" in message(data_root, "geo3k")
    assert "own.jsonl not found" in message(data_root, "own.jsonl")
    file = write_jsonl(data_root / "train.jsonl", [records[5]])
    assert "cat image.zip.part-* > image.zip && unzip image.zip" in message(data_root)
    write_jsonl(file, [records[2]])
    assert "geoqa+/" in message(data_root)
    file.write_text("{\n", "utf-8")
    assert "train.jsonl:1: not JSON" in message(data_root)
    file.write_text("\n", "utf-8")
    assert "holds no questions" in message(data_root)
    write_jsonl(file, [records[0]])
    blocked = tmp_path / "blocked"
    blocked.touch()
    assert "HF_DATASETS_CACHE" in message(data_root, cache_dir=blocked)


def test_samples_stay_on_disk(load, data_root, make_record, make_answer, write_jsonl) -> None:
    """The data set is a memory-mapped file, also where some samples are left out."""
    write_jsonl(data_root / "train.jsonl", [make_record(f"{i}", "How?", make_answer("One.", "1")) for i in range(3000)])
    dataset, _ = load()
    assert len(dataset) == 3000
    assert [Path(file["filename"]).name for file in dataset.cache_files] == ["samples.arrow"]
