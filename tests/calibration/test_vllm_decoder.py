"""The vLLM path on a real engine: token for token the transformers path."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterator
from typing import Any

import pytest
from decoding import SCALES, answers, vllm_decoder

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.vllm import VllmDecoder
from hint_grpo.machine.errors import UserError


@pytest.fixture(scope="module")
def decoder(calibration_world) -> Iterator[VllmDecoder]:
    with vllm_decoder(calibration_world.models["Qwen2.5-VL"]) as loaded:
        yield loaded


@pytest.mark.parametrize("scale", SCALES)
def test_equals_the_transformers_path(calibration_world, decoder: VllmDecoder, reference, scale: float) -> None:
    requests = calibration_world.requests[:40]
    assert answers(decoder, requests, scale) == reference("Qwen2.5-VL", 40, scale)
    assert decoder.num_redecoded == 0


def test_a_pair_that_differs_even_alone_is_an_error(
    calibration_world, monkeypatch: pytest.MonkeyPatch, decoder
) -> None:
    """The rows of a pair that nobody combines pick their own tokens: never an answer."""
    monkeypatch.setattr("hint_grpo.calibration.vllm_v1.PairedLogitsV1.apply", lambda processor, logits: logits)
    before = decoder.num_redecoded
    with pytest.raises(RuntimeError, match="out of step while it was alone"):
        answers(decoder, calibration_world.requests[:3], 0.8)
    assert decoder.num_redecoded > before
    decoder.num_redecoded = before
    assert not decoder.engine.has_unfinished_requests()


def test_scale_0_sends_one_request_a_question(calibration_world, decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    add_request = decoder.engine.add_request

    def recorded(request_id: str, *rest: Any) -> Any:
        sent.append(request_id)
        return add_request(request_id, *rest)

    monkeypatch.setattr(decoder.engine, "add_request", recorded)
    answers(decoder, calibration_world.requests[:5], 0.0)
    assert len(sent) == 5
    answers(decoder, calibration_world.requests[:5], 0.8)
    assert len(sent) == 5 + 10


def test_without_a_picture_there_is_nothing_to_calibrate(calibration_world, decoder: VllmDecoder) -> None:
    blind = [DecodeRequest(r.id, r.question, None) for r in calibration_world.requests[:9]]
    assert answers(decoder, blind, 0.0) == answers(decoder, blind, 0.8)


def test_pictures_are_encoded_once_for_all_scales(calibration_world, decoder: VllmDecoder) -> None:
    visual = decoder.engine.model_executor.driver_worker.model_runner.model.visual
    encoded: list[int] = []
    handle = visual.register_forward_hook(
        lambda module, args, kwargs, output: encoded.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    requests = calibration_world.requests[100:112]  # not asked by any other test of this engine
    for scale in (0.0, 0.4, 0.8):
        answers(decoder, requests, scale)
    handle.remove()
    assert sum(encoded) == len(requests)


def test_a_caller_who_stops_iterating_leaves_a_clean_engine(calibration_world, decoder: VllmDecoder, reference) -> None:
    requests = calibration_world.requests[:40]
    listening = decoder.decode(requests, 0.8)
    next(listening)
    listening.close()
    assert not decoder.engine.has_unfinished_requests()
    assert answers(decoder, requests, 0.8) == reference("Qwen2.5-VL", 40, 0.8)


def test_a_question_that_can_never_fit_is_one_line(calibration_world, decoder: VllmDecoder, monkeypatch) -> None:
    monkeypatch.setattr(decoder, "capacity", type(decoder.capacity)(1, 8192, 1000, 32))
    with pytest.raises(UserError, match="question q0 does not fit into vLLM even alone"):
        answers(decoder, calibration_world.requests[:1], 0.8)
    assert len(answers(decoder, calibration_world.requests[:1], 0.0)) == 1
