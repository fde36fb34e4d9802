"""Questions prepared in a thread: in order, errors at their place, an end at any moment, and the same answers."""

import hint_grpo.machine.stack  # noqa: F401

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from decoding import NEW_TOKENS, answers, vllm_decoder

from hint_grpo.calibration.admission import Admission
from hint_grpo.calibration.ahead import Ahead
from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.hf import HfDecoder
from hint_grpo.calibration.load import load_decoder
from hint_grpo.calibration.vllm import VllmDecoder
from hint_grpo.data.decoded import DecodedPicture, DecodedPictures
from hint_grpo.data.images import open_image
from hint_grpo.machine.errors import UserError

SCALES = (0.0, 0.8)


def test_results_come_in_order() -> None:
    with Ahead(range(100), lambda item: item * item) as ahead:
        assert list(ahead) == [item * item for item in range(100)]
        assert list(ahead) == []


def test_an_error_comes_at_the_place_of_its_item_with_its_cause() -> None:
    def prepare(item: int) -> int:
        if item == 3:
            try:
                raise OSError("the disk")
            except OSError as error:
                raise UserError("item 3") from error
        return item

    with Ahead(range(10), prepare) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(UserError, match="item 3") as raised:
            next(ahead)
        assert isinstance(raised.value.__cause__, OSError)
        assert list(ahead) == []


def test_the_thread_waits_for_a_slow_reader() -> None:
    begun: list[int] = []
    with Ahead(count(), begun.append, depth=3):
        wait_until(lambda: len(begun) == 4)
        time.sleep(0.05)
        assert len(begun) == 4  # three wait in the queue, the fourth for room


def test_an_interrupt_ends_the_thread() -> None:
    def interrupted() -> None:
        with Ahead(count(), lambda item: item, depth=2) as ahead:
            next(ahead)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [thread for thread in threading.enumerate() if thread.name == "prepare"]


def test_what_nobody_took_is_counted() -> None:
    ahead = Ahead(range(5), lambda item: item)
    next(ahead)
    wait_until(lambda: not ahead._thread.is_alive())
    assert ahead.close() == 4
    assert ahead.close() == 0


# ----------------------------------------------------------------------------------------------------
# Decoders that run the picture processor in the thread, as on a GPU, and that read decoded pictures


@pytest.fixture(scope="module")
def requests(calibration_world) -> list[DecodeRequest]:
    return calibration_world.requests[:40]


@pytest.fixture(scope="module")
def decoded(requests) -> Iterator[DecodedPictures]:
    with DecodedPictures() as pictures:
        yield pictures


@pytest.fixture(scope="module")
def decoded_requests(requests, decoded: DecodedPictures) -> list[DecodeRequest]:
    """The requests, half of them with the place of their picture, the others with its size only; the files are not there."""
    placed = []
    for number, request in enumerate(requests):
        place = decoded.add(open_image(request.image))
        if number % 2:
            placed.append(replace(request, decoded=DecodedPicture(place.width, place.height)))
        else:
            placed.append(replace(request, decoded=place))
    return placed


def test_the_transformers_path(calibration_world, requests, decoded, decoded_requests, reference) -> None:
    decoder = load_decoder(
        calibration_world.models["Qwen2.5-VL"],
        backend="hf",
        batch_size=7,
        max_new_tokens=NEW_TOKENS,
        decoded_file=decoded.fileno(),
    )
    assert isinstance(decoder, HfDecoder)
    for processes_ahead in (False, True):
        for asked in (requests, decoded_requests):
            decoder.pictures = type(decoder.pictures)(decoder.model, decoder.encoder)
            decoder.pictures.processes_ahead = processes_ahead
            for scale in SCALES:
                assert answers(decoder, asked, scale) == reference("Qwen2.5-VL", 40, scale)
            assert decoder.pictures.num_encoded == len(requests)


@pytest.fixture(scope="module")
def vllm(calibration_world, decoded: DecodedPictures) -> Iterator[VllmDecoder]:
    with vllm_decoder(calibration_world.models["Qwen2.5-VL"], mm_processor_cache_gb=0.001) as loaded:
        loaded.renders_ahead = True
        loaded.encoder.decoded_file = decoded.fileno()
        yield loaded


def test_the_vllm_path(vllm: VllmDecoder, requests, decoded_requests, reference) -> None:
    """vLLM's cache of processed pictures is too small for all of them, so that pictures leave it again."""
    for asked in (requests, decoded_requests):
        for scale in SCALES:
            assert answers(vllm, asked, scale) == reference("Qwen2.5-VL", 40, scale)
    assert vllm.num_redecoded == 0


def test_a_caller_who_stops_iterating_leaves_a_usable_engine(vllm: VllmDecoder, requests, reference) -> None:
    """The thread has processed pictures that the engine never got: vLLM must not believe that it has them."""
    vllm.engine.reset_mm_cache()
    vllm.capacity = replace(vllm.capacity, max_num_seqs=4)
    listening = vllm.decode(requests, 0.8)
    next(listening)
    listening.close()
    assert not vllm.engine.has_unfinished_requests()
    assert answers(vllm, requests, 0.8) == reference("Qwen2.5-VL", 40, 0.8)


def test_a_question_that_fell_out_of_step_is_processed_again(calibration_world, reference, monkeypatch) -> None:
    with vllm_decoder(calibration_world.models["Qwen2.5-VL"], max_num_seqs=7, mm_processor_cache_gb=0.001) as decoder:
        decoder.renders_ahead = True
        monkeypatch.setattr(Admission, "fits", lambda admission, wanted: True)
        assert answers(decoder, calibration_world.requests[:24], 0.8) == reference("Qwen2.5-VL", 24, 0.8)
        assert decoder.num_redecoded > 0


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
