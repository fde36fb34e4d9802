"""Calibrated decoding of every family, against two plain forward passes per token: no cache, no batch, no padding."""

import hint_grpo.machine.stack  # noqa: F401

import json

import pytest
from plain_reference import PlainReference, answers, picture_text
from tiny_models import IMAGE_TOKEN

from hint_grpo.calibration.decoder import DecodeRequest, choose_backend
from hint_grpo.calibration.hf import HfDecoder
from hint_grpo.calibration.load import load_decoder
from hint_grpo.machine.errors import UserError

NEW_TOKENS = 12


@pytest.fixture(scope="module")
def requests(rows) -> list[DecodeRequest]:
    """Every picture with two questions of different lengths."""
    asked = [(row["image"], question) for row in rows for question in (row["question"], "How many?")]
    return [DecodeRequest(f"q{number}", question, image) for number, (image, question) in enumerate(asked)]


def load(path, **settings) -> HfDecoder:
    decoder = load_decoder(path, backend="hf", max_new_tokens=NEW_TOKENS, **settings)
    assert isinstance(decoder, HfDecoder)
    return decoder


@pytest.fixture(scope="module")
def decoder(tiny_path, family) -> HfDecoder:
    return load(tiny_path(family, sharp=True), batch_size=5, repetition_penalty=1.0)


@pytest.mark.parametrize("scale", [0.0, 0.8])
def test_equals_plain_forward_passes(family, tiny_path, decoder, requests, scale) -> None:
    reference = PlainReference(tiny_path(family, sharp=True), family, new_tokens=NEW_TOKENS)
    completions = answers(decoder, requests, scale)
    expected = {request.id: reference.decode(request, scale) for request in requests}
    assert {c.id: c.token_ids for c in completions.values()} == expected
    assert len(set(expected.values())) > len(requests) // 2  # equality would mean little if all were alike


def test_the_scale_and_the_picture_matter(decoder, requests) -> None:
    plain, strong = answers(decoder, requests, 0.0), answers(decoder, requests, 1.6)
    assert plain != strong
    blind = [DecodeRequest(r.id, r.question, None) for r in requests]
    assert answers(decoder, blind, 0.0) == answers(decoder, blind, 0.8)  # nothing to calibrate
    assert answers(decoder, blind, 0.0) != plain


def test_the_image_free_branch_is_the_same_message_without_its_image_part(family, decoder, requests) -> None:
    question, _ = decoder.encoder.encode(requests[0], scale=0.8)
    assert question.text_ids is not None
    decode = decoder.encoder.tokenizer.decode
    assert decode(question.text_ids) == decode(question.prompt_ids).replace(picture_text(family), "")
    blind, _ = decoder.encoder.encode(DecodeRequest("blind", requests[0].question, None), scale=0.0)
    assert blind.prompt_ids == question.text_ids


def test_prompt_lengths_are_those_of_the_processor(family, decoder, requests) -> None:
    for request in requests[::2]:
        question, image = decoder.encoder.encode(request, scale=0.0)
        family_ = decoder.encoder.family
        text = decoder.encoder.tokenizer.decode(question.prompt_ids)
        inputs = family_.processor(text=[text], images=[image], return_tensors="pt", add_special_tokens=False)
        assert family_.expand(question.prompt_ids, question.num_image_tokens) == inputs["input_ids"][0].tolist()
        assert question.prompt_lengths == (inputs["input_ids"].shape[1],)


def test_pictures_are_encoded_once_for_all_scales(family, tiny_path, rows) -> None:
    decoder = load(tiny_path(family, sharp=True))
    encoder = decoder.model.model.vision_model if family == "Mllama" else decoder.model.model.visual
    calls: list[int] = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    requests = [DecodeRequest(row["id"], row["question"], row["image"]) for row in rows]
    for scale in (0.0, 0.4, 0.8):
        answers(decoder, requests, scale)
    assert len(calls) == decoder.pictures.num_encoded == len(rows)


def test_a_repetition_penalty_acts_on_every_family(family, tiny_path, requests) -> None:
    """Mllama's placeholder is in the history and has no logit to penalise."""
    penalised = load(tiny_path(family, sharp=True), repetition_penalty=1.5)
    free = load(tiny_path(family, sharp=True), repetition_penalty=1.0)
    assert answers(penalised, requests, 0.8) != answers(free, requests, 0.8)


def test_a_picture_token_in_the_question_is_refused(family, decoder) -> None:
    token = IMAGE_TOKEN.get(family, "<|image_pad|>")
    with pytest.raises(UserError, match="q7 contains the picture token"):
        decoder.encoder.encode(DecodeRequest("q7", f"What is {token}?", None), scale=0.0)


def test_vllm_lacks_mllama(tiny_path) -> None:
    """As the installed vLLM says itself."""
    registry = pytest.importorskip("vllm").ModelRegistry.get_supported_archs()
    for family, backend in (("Mllama", "hf"), ("Qwen3-VL", "vllm"), ("Qwen2-VL", "vllm")):
        path = tiny_path(family)
        (architecture,) = json.loads((path / "config.json").read_text())["architectures"]
        assert (architecture in registry) == (backend == "vllm")
        assert choose_backend("auto", path) == backend
    with pytest.raises(UserError, match="--backend hf"):
        load_decoder(tiny_path("Mllama"), backend="vllm")
    assert isinstance(load_decoder(tiny_path("Mllama"), backend="auto"), HfDecoder)


def test_a_limit_of_pixels_is_refused_where_there_is_none(tiny_path) -> None:
    with pytest.raises(UserError, match="leave out max_pixels"):
        load(tiny_path("Mllama"), max_pixels=100_000)


def test_qwens_picture_library_is_refused_for_another_family(tiny_path) -> None:
    with pytest.raises(UserError, match="is for Qwen's models, and this one has a MllamaProcessor"):
        load(tiny_path("Mllama"), picture_processing="qwen_vl_utils")
