"""Prompts and their lengths, against the model's own processor."""

import hint_grpo.machine.stack  # noqa: F401

from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.load import load_decoding_processor
from hint_grpo.calibration.prompting import QuestionEncoder
from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import evaluation_messages

SIZES = [(84, 84), (28, 300), (640, 480), (57, 57), (1500, 900)]


@pytest.fixture(scope="module")
def model_path(calibration_world) -> Path:
    return calibration_world.models["Qwen2.5-VL"]


def encoder_for(model_path: Path, max_pixels: int | None = None, context_length: int = 8192) -> QuestionEncoder:
    processor = load_decoding_processor(model_path, max_pixels, trust_remote_code=False)
    return QuestionEncoder(processor, max_new_tokens=16, context_length=context_length)


def picture(tmp_path: Path, size: tuple[int, int]) -> DecodeRequest:
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "picture.png")
    return DecodeRequest("q", "How many red items are there?", str(tmp_path / "picture.png"))


@pytest.mark.parametrize("max_pixels", [None, 100_000])
@pytest.mark.parametrize("size", SIZES)
def test_lengths_are_those_of_the_processor(
    model_path: Path, tmp_path: Path, size: tuple[int, int], max_pixels: int | None
) -> None:
    encoder, request = encoder_for(model_path, max_pixels), picture(tmp_path, size)
    question, image = encoder.encode(request, scale=0.8)
    text = encoder.processor.apply_chat_template(
        evaluation_messages(request.question, with_image=True), tokenize=False, add_generation_prompt=True
    )
    inputs = encoder.processor(text=[text], images=[image], return_tensors="pt")
    expanded = encoder.family.expand(question.prompt_ids, question.num_image_tokens)
    assert expanded == inputs["input_ids"][0].tolist()
    assert question.prompt_lengths[0] == len(expanded)
    if max_pixels is not None:
        assert question.num_image_tokens * 28 * 28 <= max_pixels


def test_the_image_free_branch_is_the_same_message_without_its_image_part(model_path: Path, tmp_path: Path) -> None:
    encoder = encoder_for(model_path)
    question, _ = encoder.encode(picture(tmp_path, (84, 84)), scale=0.8)
    assert question.text_ids is not None
    decode = encoder.tokenizer.decode
    assert decode(question.text_ids) == decode(question.prompt_ids).replace(
        "<|vision_start|><|image_pad|><|vision_end|>", ""
    )
    assert "Output the thinking process in <think> </think>" in decode(question.text_ids)


def test_nothing_to_calibrate_at_scale_0_or_without_a_picture(model_path: Path, tmp_path: Path) -> None:
    encoder, request = encoder_for(model_path), picture(tmp_path, (84, 84))
    assert encoder.encode(request, scale=0.0)[0].text_ids is None
    blind, image = encoder.encode(DecodeRequest("q", request.question, None), scale=0.8)
    assert (blind.text_ids, image, blind.num_image_tokens) == (None, None, 0)
    assert blind.prompt_ids == encoder.encode(request, scale=0.8)[0].text_ids


def test_a_question_that_does_not_fit_the_context_names_the_fix(model_path: Path, tmp_path: Path) -> None:
    request = picture(tmp_path, (640, 480))
    question, _ = encoder_for(model_path).encode(request, scale=0.0)
    exact = question.prompt_lengths[0] + 16
    encoder_for(model_path, context_length=exact).encode(request, scale=0.0)
    with pytest.raises(UserError, match="--max_pixels"):
        encoder_for(model_path, context_length=exact - 1).encode(request, scale=0.0)


def test_bad_pictures_and_picture_tokens_in_the_text_name_the_question(model_path: Path, tmp_path: Path) -> None:
    encoder = encoder_for(model_path)
    (tmp_path / "broken.png").write_bytes(b"<html>not found</html>")
    for path in ("missing.png", "broken.png"):
        with pytest.raises(UserError, match=f"question q7: .*{path}"):
            encoder.encode(DecodeRequest("q7", "How many?", str(tmp_path / path)), scale=0.0)
    with pytest.raises(UserError, match="q8 contains the picture token"):
        encoder.encode(DecodeRequest("q8", "What is <|image_pad|>?", None), scale=0.0)


def test_max_pixels_below_the_smallest_picture_is_refused(model_path: Path) -> None:
    with pytest.raises(UserError, match="max_pixels"):
        load_decoding_processor(model_path, 100, trust_remote_code=False)
