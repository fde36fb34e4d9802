"""A user's own records."""

import json
from typing import Any

import pytest

from hint_grpo.data.jsonl import BadRecord, JsonRecord, UniqueIds, other_fields, parse_line
from hint_grpo.data.own_records import OwnReader
from hint_grpo.data.paths import ImageRoot
from hint_grpo.data.samples import Dropped, Filter

GOOD: dict[str, Any] = {"image": "coco/3.png", "question": "How many?", "solution": "4", "reasoning_steps": ["a", "b"]}


@pytest.fixture
def read(data_root):
    return lambda record: list(OwnReader(ImageRoot(data_root), UniqueIds(), False)(JsonRecord("own.jsonl:3", record)))


def test_a_good_record(read, data_root) -> None:
    (sample,) = read(GOOD)
    assert (sample.id, sample.question, sample.solution, sample.source) == (
        "own.jsonl:3",
        "How many?",
        "4",
        "own.jsonl:3",
    )
    assert sample.reasoning_steps == ("a", "b")
    assert sample.image == str(data_root.resolve() / "coco/3.png")
    assert read({**GOOD, "image": ["coco/3.png"]}) == [sample]
    assert read({**GOOD, "id": "mine"})[0].id == "mine"


@pytest.mark.parametrize(("written", "solution"), [("4", "4"), ("2.50", "2.50"), ("-7", "-7"), ('" 65° "', "65°")])
def test_numbers_become_text_as_written(read, written: str, solution: str) -> None:
    record = parse_line(b'{"image": "coco/3.png", "question": "q", "solution": %s}' % written.encode())
    assert read(record)[0].solution == solution


def test_steps_may_be_missing_or_empty(read) -> None:
    without = {key: value for key, value in GOOD.items() if key != "reasoning_steps"}
    assert read(without)[0].reasoning_steps == ()
    assert read({**GOOD, "reasoning_steps": [" ", "a ", ""]})[0].reasoning_steps == ("a",)


def test_the_users_steps_are_not_cut_again(read) -> None:
    assert read({**GOOD, "reasoning_steps": ["One. Two.\n\nThree."]})[0].reasoning_steps == ("One. Two.\n\nThree.",)


@pytest.mark.parametrize(
    "change",
    [
        {"image": None},
        {"image": []},
        {"image": [3]},
        {"question": None},
        {"question": " <image> "},
        {"solution": None},
        {"solution": ["4"]},
        {"solution": True},
        {"solution": ""},
        {"reasoning_steps": "one text"},
        {"reasoning_steps": ["a", None]},
        {"reasoning_steps": None},
    ],
)
def test_what_is_not_of_the_schema_is_a_bad_record(read, change: dict[str, Any]) -> None:
    with pytest.raises(BadRecord):
        read({**GOOD, **change})


def test_filters(read) -> None:
    place = "own.jsonl:3"
    assert read({**GOOD, "image": "../outside.png"}) == [Dropped(Filter.IMAGE_OUTSIDE, place)]
    assert read({**GOOD, "image": ["coco/3.png", "coco/4.png"]}) == [Dropped(Filter.SEVERAL_IMAGES, place)]
    assert read({**GOOD, "reasoning_steps": ["<|vision_start|>"]}) == [Dropped(Filter.SPECIAL_TOKEN, place)]
    assert read({**GOOD, "solution": "B"}) == [Dropped(Filter.LETTER_WITHOUT_OPTIONS, place)]


def test_a_letter_becomes_its_options_text_and_words_are_left_to_the_checker(read) -> None:
    (sample,) = read({**GOOD, "question": "How many?\nA. 3\nB. 4", "solution": "B"})
    assert (sample.question, sample.solution) == ("How many?", "4")
    assert read({**GOOD, "solution": "a rhombus"})[0].solution == "a rhombus"


def test_other_fields_are_kept_as_json_with_their_types(tmp_path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    line = b'{"image": "1.png", "question": "How many?", "solution": 4, "level": 3, "share": 2.50, "tags": ["a", 1]}'
    fields = parse_line(line)
    (sample,) = OwnReader(ImageRoot(tmp_path), UniqueIds(), False)(JsonRecord("my.jsonl:1", fields))
    assert sample.solution == "4"  # text, as written
    assert json.loads(sample.extra) == {"level": 3, "share": 2.5, "tags": ["a", 1]}
    assert other_fields(parse_line(b'{"n": ' + b"9" * 5000 + b', "e": 1e999}'), ()) == json.dumps(
        {"n": "9" * 5000, "e": "1e999"}
    )
    assert other_fields({"id": "a"}, ("id",)) == ""
