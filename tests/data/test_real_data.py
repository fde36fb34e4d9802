"""Real records and pictures, where they lie beside the project; skipped elsewhere."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hint_grpo.data.answers import conclusion_value, has_number
from hint_grpo.data.fill_in import option_letter, split_options
from hint_grpo.data.images import MIN_SIDE, open_image
from hint_grpo.data.llava_cot import reasoning_and_conclusion, split_steps
from hint_grpo.data.paths import BadImage
from hint_grpo.data.questions import read_questions

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
NOT_USABLE = {
    "broken.png": "not an image",
    "decompression_bomb.gif": "decompression bomb",
    "png_decompression_dos.png": "too large",
    "truncated_end_chunk.png": "truncated",
    "truncated_image.png": "truncated",
    "truncated_jpeg.jpg": "truncated",
}


@pytest.fixture
def texts(shared_data: Path) -> list[str]:
    lines = (shared_data / "llava_cot/llava_cot_outputs.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines if line.strip()]


def test_pictures_no_one_expects(shared_data: Path) -> None:
    folder = shared_data / "images/weird_pillow"
    reasons = {}
    for file in sorted(folder.iterdir()):
        try:
            image = open_image(file)
        except BadImage as error:
            reasons[file.name] = str(error)
        else:
            assert image.mode == "RGB"
            assert min(image.size) >= MIN_SIDE
    assert reasons.keys() == NOT_USABLE.keys()
    for name, part in NOT_USABLE.items():
        assert part in reasons[name]


def test_the_same_picture_in_many_formats_looks_the_same(shared_data: Path) -> None:
    folder = shared_data / "images/weird_pillow"
    upright = np.asarray(open_image(folder / "hopper.png"), dtype=float)
    for name in ("hopper.bmp", "hopper.jpg", "hopper.gif", "hopper.webp", "hopper_orientation_2.jpg",
                 "hopper_orientation_6.jpg", "hopper_orientation_8.webp"):  # fmt: skip
        assert np.abs(np.asarray(open_image(folder / name), dtype=float) - upright).mean() < 12, name


def test_transparent_geometry_pictures_are_drawn_on_white(shared_data: Path) -> None:
    files = sorted((shared_data / "images/geo3k_mulberry/images").iterdir())
    assert len(files) == 30
    for file in files:
        assert np.asarray(open_image(file)).mean() > 200, file.name


def test_a_real_picture_of_less_than_28_pixels(shared_data: Path) -> None:
    file = shared_data / "images/geoqa_plus_5238.png"
    assert Image.open(file).size == (157, 19)
    assert open_image(file).size == (231, 28)


def test_real_answers_are_taken_apart_without_loss(texts: list[str]) -> None:
    tagged = [text for text in texts if "<REASONING>" in text]
    assert len(tagged) == 234
    for text in tagged:
        reasoning, conclusion = reasoning_and_conclusion(text)
        assert reasoning == re.search(r"<REASONING>(.*?)</REASONING>", text, re.DOTALL)[1].strip()
        assert conclusion
        steps = split_steps(reasoning)
        assert len(steps) >= 2, "every real reasoning has something to give as a hint"
        assert "".join("".join(steps).split()) == "".join(reasoning.split())
    for text in texts:
        if "<REASONING>" not in text:
            assert reasoning_and_conclusion(text) == ("", ""), "a refusal or another form: left out, and counted"


def test_every_real_conclusion_is_a_letter_or_a_value(texts: list[str]) -> None:
    for text in texts:
        conclusion = reasoning_and_conclusion(text)[1]
        if conclusion and has_number(conclusion):
            assert has_number(conclusion_value(conclusion)), conclusion
            assert option_letter(conclusion) is None
        elif conclusion:
            assert option_letter(conclusion) is not None, conclusion


def test_real_questions_with_and_without_options(shared_data: Path) -> None:
    geometry3k = json.loads((shared_data / "images/geo3k_mulberry/comcts_input_data.json").read_text("utf-8"))
    for record in geometry3k:
        stem, options = split_options(record["question"])
        assert list(options) == ["A", "B", "C", "D"]
        assert "Choices" not in stem
    for line in (shared_data / "geoqa/geoqa_test_prompts.jsonl").read_text("utf-8").splitlines():
        question = json.loads(line)["question"]
        assert split_options(question) == (question, {})


def test_real_question_files(shared_data: Path) -> None:
    folder = shared_data / "geoqa"
    geoqa = read_questions(folder / "geoqa_test_prompts.jsonl", folder / "Geo170K", look_for_images=False)
    assert len(geoqa.questions) == len({question.id for question in geoqa.questions}) == 754
    assert geoqa.num_unusable == 0
    here = read_questions(folder / "geoqa_test_prompts.jsonl", folder / "Geo170K")
    assert [Path(question.image).name for question in here.questions] == ["319.png", "608.png"]
    counting = read_questions(folder / "superclevr_test200_counting_problems.jsonl", folder, look_for_images=False)
    assert len(counting.questions) == 200
    assert all(re.fullmatch(r"\d+", question.ground_truth) for question in counting.questions)
