"""What the tests of the decoders share."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hint_grpo.calibration.decoder import Completion, Decoder, DecodeRequest
from hint_grpo.calibration.load import load_decoder
from hint_grpo.calibration.vllm import VllmDecoder

NEW_TOKENS = 20
SCALES = (0.0, 0.4, 0.8, 1.6)


def answers(decoder: Decoder, requests: list[DecodeRequest], scale: float) -> dict[str, Completion]:
    completions = list(decoder.decode(requests, scale))
    assert sorted(c.id for c in completions) == sorted(r.id for r in requests)
    return {c.id: c for c in completions}


@contextmanager
def vllm_decoder(path: Path, *, repetition_penalty: float | None = None, **engine_args: Any) -> Iterator[VllmDecoder]:
    decoder = load_decoder(
        path,
        backend="vllm",
        max_new_tokens=NEW_TOKENS,
        repetition_penalty=repetition_penalty,
        vllm_engine_args=engine_args,
    )
    assert isinstance(decoder, VllmDecoder)
    try:
        yield decoder
    finally:
        decoder.close()
