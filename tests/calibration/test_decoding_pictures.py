"""--picture_processing qwen_vl_utils in the decoders: the same tokens on both backends, other pictures than without it."""

import hint_grpo.machine.stack  # noqa: F401

from pathlib import Path

import pytest
import torch
from decoding import NEW_TOKENS, answers

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.load import load_decoder
from hint_grpo.calibration.prompting import QuestionEncoder
from hint_grpo.data.images import open_image
from hint_grpo.machine.errors import UserError
from hint_grpo.toy.models import toy_processor


@pytest.fixture(scope="module")
def requests(calibration_world, tmp_path_factory: pytest.TempPathFactory) -> list[DecodeRequest]:
    """The toy's pictures, which have sides of whole image tokens, made a little larger: something is left to resize."""
    folder = tmp_path_factory.mktemp("larger")
    larger = []
    for request in calibration_world.requests[:16]:
        image = open_image(request.image)
        file = folder / Path(request.image).name
        image.resize((image.width + 31, image.height + 17)).save(file)
        larger.append(DecodeRequest(request.id, request.question, str(file)))
    return larger


def test_both_backends_answer_token_for_token(calibration_world, requests) -> None:
    found = []
    for backend in ("hf", "vllm"):
        decoder = load_decoder(
            calibration_world.models["Qwen2.5-VL"],
            backend=backend,
            max_new_tokens=NEW_TOKENS,
            picture_processing="qwen_vl_utils",
        )
        found.append([answers(decoder, requests, scale) for scale in (0.0, 0.8)])
        decoder.close()
    assert found[0] == found[1]


def test_the_processor_gets_the_librarys_picture(requests) -> None:
    """Other pixel values than of the picture as it is, and no more than 8-bit rounding apart."""
    processor = toy_processor("Qwen2.5-VL")
    pixels = []
    for processing in ("processor", "qwen_vl_utils"):
        encoder = QuestionEncoder(
            processor, max_new_tokens=NEW_TOKENS, context_length=2048, picture_processing=processing
        )
        images = [encoder.picture(request) for request in requests]
        pixels.append(torch.cat([encoder.family.image_inputs(image)["pixel_values"] for image in images]))
    assert pixels[0].shape == pixels[1].shape
    steps = (pixels[0] - pixels[1]).abs() * min(processor.image_processor.image_std) * 255
    assert 0.5 < steps.max() < 4


def test_an_unknown_word_is_refused_before_a_model_loads(calibration_world) -> None:
    with pytest.raises(UserError, match="unknown picture_processing 'pil': choose one of processor, qwen_vl_utils"):
        load_decoder(calibration_world.models["Qwen2.5-VL"], backend="hf", picture_processing="pil")
