"""LLaVA-CoT records with the irregularities of the download: tags, turns, images."""

import pytest

from hint_grpo.data.jsonl import BadRecord, JsonRecord, UniqueIds
from hint_grpo.data.llava_cot import GEOMETRY_PREFIXES, LlavaCotReader, reasoning_and_conclusion
from hint_grpo.data.paths import ImageRoot
from hint_grpo.data.samples import Dropped, Filter, Sample


@pytest.fixture
def read(data_root):
    def reader(record, keep_multiple_choice=False, prefixes=GEOMETRY_PREFIXES):
        llava = LlavaCotReader(ImageRoot(data_root), UniqueIds(), prefixes, keep_multiple_choice)
        return list(llava(JsonRecord("train.jsonl:7", record)))

    return reader


@pytest.mark.parametrize("gap", ["\n\n", " \n\n", "\n", "", "\r\n"])
def test_sections_whatever_stands_between_them(gap: str) -> None:
    parts = [
        "<SUMMARY> s </SUMMARY>",
        "<CAPTION> c </CAPTION>",
        "<REASONING> r </REASONING>",
        "<CONCLUSION> 4 </CONCLUSION>",
    ]
    assert reasoning_and_conclusion(gap.join(parts)) == ("r", "4")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<REASONING> r </REASONING> <CONCLUSION> 4", ("r", "4")),
        ("<CAPTION> c <REASONING> r <CONCLUSION> 4 </CONCLUSION>", ("r", "4")),
        ("<CAPTION> c </CAPTION> r </REASONING> <CONCLUSION> 4 </CONCLUSION>", ("r", "4")),
        ("<SUMMARY> s </SUMMARY> First r. Then s. <CONCLUSION> 4 </CONCLUSION>", ("First r. Then s.", "4")),
        ("First r. Then s. <CONCLUSION>4</CONCLUSION>", ("First r. Then s.", "4")),
        ("<REASONING> r </REASONING> The answer is 4.", ("r", "The answer is 4.")),
        ("<reasoning> r </Reasoning> < CONCLUSION > 4 </ CONCLUSION >", ("r", "4")),
        ("<REASONING> r1 </REASONING> <REASONING> r2 </REASONING> <CONCLUSION> 4 </CONCLUSION>", ("r1\n\nr2", "4")),
        ("<CONCLUSION> 4 </CONCLUSION>", ("", "4")),
        ("I cannot tell.", ("", "")),
        ("a < b and b > c <REASONING> x < 3 </REASONING> <CONCLUSION> 2 </CONCLUSION>", ("x < 3", "2")),
        ("", ("", "")),
    ],
)
def test_missing_and_unclosed_tags(text: str, expected: tuple[str, str]) -> None:
    assert reasoning_and_conclusion(text) == expected


def test_a_whole_record(read, data_root, make_record, make_answer) -> None:
    question = "<image>\nAs shown, AB touches circle A. Angle C is ()\nA. 30°\nB. 45°\nAnswer with the option's letter."
    text = make_answer("We look.\nStep 1: B is 45°.\nStep 2: So is C.", "The answer is B.")
    assert read(make_record("g1", question, text)) == [
        Sample(
            id="g1",
            image=str(data_root.resolve() / "geoqa+/images/1.png"),
            question="As shown, AB touches circle A. Angle C is ()",
            solution="45°",
            reasoning_steps=("We look.", "Step 1: B is 45°.", "Step 2: So is C."),
            source="train.jsonl:7",
        )
    ]
    (kept,) = read(make_record("g1", question, text), keep_multiple_choice=True)
    assert kept.solution == "B"
    assert kept.question == question.removeprefix("<image>\n")
    assert kept.reasoning_steps == ("We look.", "Step 1: B is 45°.", "Step 2: So is C.")


def test_several_questions_of_a_record_get_ids_of_their_own(read, make_record, make_answer) -> None:
    record = make_record("g1", "How many red?", make_answer("One. Two.", "2"))
    record["conversations"] += [
        {"from": "human", "value": "And green?"},
        {"from": "gpt", "value": make_answer("None.", "no")},
        {"from": "human", "value": "And blue?"},
        {"from": "gpt", "value": make_answer("One. Two. Three.", "3")},
        {"from": "human", "value": "And?"},
    ]
    first, second, third, fourth = read(record)
    assert (first.id, first.solution, third.id, third.solution) == ("g1", "2", "g1:3", "3")
    assert second == Dropped(Filter.NO_NUMBER, "train.jsonl:7")
    assert fourth == Dropped(Filter.NO_ANSWER, "train.jsonl:7")


def test_a_record_without_an_id_is_named_by_its_place(read, make_record, make_answer) -> None:
    record = make_record("", "How many?", make_answer("One.", "1"))
    assert read(record)[0].id == "train.jsonl:7"
    del record["id"]
    assert read(record)[0].id == "train.jsonl:7"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("coco/3.png", Filter.OTHER_IMAGES),
        ("geoqa/images/1.png", Filter.OTHER_IMAGES),
        ("geoqa+/../coco/3.png", Filter.IMAGE_OUTSIDE),
        ("geoqa+/../../outside.png", Filter.IMAGE_OUTSIDE),
        ("/geoqa+/images/1.png", Filter.IMAGE_OUTSIDE),
        (None, Filter.NO_IMAGE),
        ("", Filter.NO_IMAGE),
        (["geoqa+/images/1.png", "geoqa+/images/2.png"], Filter.SEVERAL_IMAGES),
        ([], Filter.NO_IMAGE),
        ({"path": "geoqa+/images/1.png"}, Filter.NO_IMAGE),
    ],
)
def test_images_that_are_left_out(read, make_record, make_answer, image, reason) -> None:
    assert read(make_record("g1", "How many?", make_answer("One.", "1"), image)) == [Dropped(reason, "train.jsonl:7")]


def test_image_spellings_and_other_parts(read, make_record, make_answer) -> None:
    text = make_answer("One.", "1")
    for image in ("./geoqa+/images/1.png", "geoqa+//images/1.png", ["geoqa+/images/1.png"]):
        (sample,) = read(make_record("g1", "How many?", text, image))
        assert sample.image.endswith("/geoqa+/images/1.png")
    (sample,) = read(make_record("g1", "How many?", text, "coco/3.png"), prefixes=())
    assert sample.image.endswith("/coco/3.png")


@pytest.mark.parametrize(
    ("question", "text", "reason"),
    [
        ("How many?", "I cannot tell.", Filter.NO_CONCLUSION),
        ("How many?", "<CONCLUSION>  </CONCLUSION>", Filter.NO_CONCLUSION),
        ("Which?", "<CONCLUSION> B </CONCLUSION>", Filter.LETTER_WITHOUT_OPTIONS),
        ("Which?\nA. 1\nB. 2", "<CONCLUSION> E </CONCLUSION>", Filter.LETTER_WITHOUT_OPTIONS),
        ("Which?\nA. one\nB. two", "<CONCLUSION> B </CONCLUSION>", Filter.NO_NUMBER),
        ("Is it?", "<CONCLUSION> yes </CONCLUSION>", Filter.NO_NUMBER),
        ("How many?", "<CONCLUSION> 2 cubes and 3 spheres </CONCLUSION>", Filter.SEVERAL_VALUES),
        ("How many?", "<CONCLUSION> more than 2 </CONCLUSION>", Filter.BOUND),
        ("How many?", "<CONCLUSION> half of 4 </CONCLUSION>", Filter.UNCLEAR_ANSWER),
        ("Which?\nA. 1\nB. 2", "<CONCLUSION> A and B </CONCLUSION>", Filter.NO_NUMBER),
        ("Which?\nA. 1\nB. 2", "<CONCLUSION> (A), (B) </CONCLUSION>", Filter.SEVERAL_OPTIONS),
        ("How many <|image_pad|>?", "<CONCLUSION> 2 </CONCLUSION>", Filter.SPECIAL_TOKEN),
        ("How many?", "<REASONING> <|im_end|> </REASONING><CONCLUSION> 2 </CONCLUSION>", Filter.SPECIAL_TOKEN),
    ],
)
def test_every_filter_is_named(read, make_record, question: str, text: str, reason: Filter) -> None:
    assert read(make_record("g1", question, text)) == [Dropped(reason, "train.jsonl:7")]


@pytest.mark.parametrize(
    "conversations", [None, "text", [1], [{"from": "human"}], [{"from": "human", "value": 4}], [{"value": None}]]
)
def test_what_is_not_of_the_schema_is_a_bad_record(read, conversations) -> None:
    with pytest.raises(BadRecord):
        read({"id": "g1", "image": "geoqa+/images/1.png", "conversations": conversations})


def test_odd_conversations_lose_nothing_else(read, make_record, make_answer) -> None:
    record = make_record("g1", "How many?", make_answer("One.", "1"))
    system = {"from": "system", "value": "You are."}
    second_answer = {"from": "gpt", "value": make_answer("Two.", "2")}
    record["conversations"] = [second_answer, system, *record["conversations"], second_answer]
    (sample,) = read(record)
    assert sample.solution == "1"
    assert read({"id": "g1", "image": "geoqa+/images/1.png", "conversations": []}) == []
