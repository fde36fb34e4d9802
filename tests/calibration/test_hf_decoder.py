"""The transformers path, against a plain loop without cache, batch or padding, and against `generate`."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from plain_reference import PlainReference, answers
from transformers import LogitsProcessorList

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.hf import HfDecoder
from hint_grpo.calibration.load import load_decoder

NEW_TOKENS = 20


@pytest.fixture(scope="module")
def decoder(calibration_world, family: str) -> HfDecoder:
    loaded = load_decoder(calibration_world.models[family], backend="hf", batch_size=7, max_new_tokens=NEW_TOKENS)
    assert isinstance(loaded, HfDecoder)
    return loaded


@pytest.mark.parametrize("scale", [0.0, 0.8, 1.6])
def test_equals_two_plain_forward_passes_per_token(
    calibration_world, family: str, decoder: HfDecoder, scale: float
) -> None:
    requests = calibration_world.requests[:6]
    reference = PlainReference(calibration_world.models[family], family, new_tokens=NEW_TOKENS, penalty=1.05)
    completions = answers(decoder, requests, scale)
    assert {r.id: completions[r.id].token_ids for r in requests} == {r.id: reference.decode(r, scale) for r in requests}


def test_the_test_data_is_hard_enough(calibration_world, decoder: HfDecoder) -> None:
    """Equality would mean little if completions were alike, all equally long, or untouched by the scale."""
    requests = calibration_world.requests[:40]
    plain, strong = answers(decoder, requests, 0.0), answers(decoder, requests, 1.6)
    assert len({c.token_ids for c in plain.values()}) > 20
    assert len({len(c.token_ids) for c in plain.values()}) > 4
    assert {c.finish_reason for c in plain.values()} == {"stop", "length"}
    assert sum(plain[r.id].token_ids != strong[r.id].token_ids for r in requests) > 20


def test_equals_generate_at_scale_0(calibration_world, family: str, decoder: HfDecoder) -> None:
    """`generate` with the checkpoint's own generation config, one question at a time (its padding counts as history)."""
    reference = PlainReference(calibration_world.models[family], family, new_tokens=NEW_TOKENS, penalty=1.05)
    requests = calibration_world.requests[:10]
    completions = answers(decoder, requests, 0.0)
    for request in requests:
        inputs = reference.inputs(request, True)
        output = reference.model.generate(
            **inputs, do_sample=False, max_new_tokens=NEW_TOKENS, suppress_tokens=reference.never
        )
        assert completions[request.id].token_ids == tuple(output[0, inputs["input_ids"].shape[1] :].tolist())


@pytest.mark.parametrize("scale", [0.0, 0.8])
def test_a_batch_of_n_equals_one_by_one(calibration_world, family: str, decoder: HfDecoder, scale: float) -> None:
    requests = calibration_world.requests[:24]
    single = load_decoder(calibration_world.models[family], backend="hf", batch_size=1, max_new_tokens=NEW_TOKENS)
    assert isinstance(single, HfDecoder)
    assert answers(decoder, requests, scale) == answers(single, requests, scale)


@contextmanager
def counted_rows(model: torch.nn.Module) -> Iterator[list[int]]:
    """Rows of every forward pass, as the language model itself sees them."""
    rows: list[int] = []
    layer = model.get_submodule("model.language_model.layers.0")
    handle = layer.register_forward_hook(lambda module, args, output: rows.append(args[0].shape[0]))
    yield rows
    handle.remove()


@pytest.mark.parametrize(("scale", "branches"), [(0.0, 1), (0.8, 2)])
def test_no_row_is_decoded_after_its_end(calibration_world, decoder: HfDecoder, scale: float, branches: int) -> None:
    requests = calibration_world.requests[:30]
    before = decoder.num_rows_decoded
    with counted_rows(decoder.model) as rows:
        completions = answers(decoder, requests, scale)
    num_tokens = sum(len(c.token_ids) for c in completions.values())
    assert min(len(c.token_ids) for c in completions.values()) < NEW_TOKENS // 2  # some do end early
    # The forward pass that yields a completion's last token is the last one its rows are in.
    assert sum(rows) == branches * num_tokens == decoder.num_rows_decoded - before


def test_without_a_picture_there_is_nothing_to_calibrate(calibration_world, decoder: HfDecoder) -> None:
    blind = [DecodeRequest(r.id, r.question, None) for r in calibration_world.requests[:9]]
    assert answers(decoder, blind, 0.0) == answers(decoder, blind, 0.8)
    seeing = answers(decoder, calibration_world.requests[:9], 0.0)
    assert any(
        seeing[r.id].token_ids != c.token_ids for r, c in zip(blind, answers(decoder, blind, 0.0).values(), strict=True)
    )


def test_pictures_present_and_absent_in_one_call(calibration_world, decoder: HfDecoder) -> None:
    requests = calibration_world.requests[:6]
    blind = [DecodeRequest(f"blind-{r.id}", r.question, None) for r in requests]
    mixed = answers(decoder, [*requests, *blind], 0.8)
    assert mixed == answers(decoder, requests, 0.8) | answers(decoder, blind, 0.8)


def test_pictures_are_encoded_once_for_all_scales(calibration_world, family: str) -> None:
    requests = calibration_world.requests[:12]
    decoder = load_decoder(calibration_world.models[family], backend="hf", max_new_tokens=4)
    assert isinstance(decoder, HfDecoder)
    calls: list[int] = []
    decoder.model.model.visual.register_forward_hook(lambda *_: calls.append(1))
    for scale in (0.0, 0.4, 0.8):
        answers(decoder, requests, scale)
    assert len(calls) == decoder.pictures.num_encoded == len(requests)


def test_the_picture_cache_lets_go(calibration_world, decoder: HfDecoder) -> None:
    cache = type(decoder.pictures)(decoder.model, decoder.encoder, max_bytes=1)
    first, second = calibration_world.requests[:2]
    for request in (first, first, second, first):
        cache.get(request)
    assert cache.num_encoded == 3


def test_vision_tokens_are_chosen_by_the_model_and_never_by_the_decoder(
    calibration_world, family: str, decoder: HfDecoder
) -> None:
    requests, never = calibration_world.requests[:20], set(decoder.rules.suppressed_ids)
    unbound = load_decoder(calibration_world.models[family], backend="hf", max_new_tokens=NEW_TOKENS)
    assert isinstance(unbound, HfDecoder)
    unbound.processors = LogitsProcessorList(unbound.processors[:-1])  # the last one suppresses
    for scale in (0.0, 0.8):
        assert not any(never.intersection(c.token_ids) for c in answers(decoder, requests, scale).values())
        assert any(never.intersection(c.token_ids) for c in answers(unbound, requests, scale).values())


def test_texts_are_without_special_tokens(calibration_world, decoder: HfDecoder) -> None:
    completions = answers(decoder, calibration_world.requests[:20], 0.0).values()
    assert all("<|" not in completion.text for completion in completions)
    tokenizer = decoder.encoder.tokenizer
    for completion in completions:
        assert completion.text == tokenizer.decode(completion.token_ids, skip_special_tokens=True)
