"""Every test here builds its own vLLM engines: both families, hostile settings, a GPU. One engine lives at a time."""

import hint_grpo.machine.stack  # noqa: F401

from importlib.util import find_spec

import pytest
from decoding import NEW_TOKENS, SCALES, answers, vllm_decoder

from hint_grpo.calibration.admission import Admission
from hint_grpo.calibration.load import load_decoder
from hint_grpo.calibration.vllm import VllmDecoder

# From vLLM 0.31; before that the V1 model runner decodes, on GPUs too.
V2_HAS_LOGITS_PROCESSORS = find_spec("vllm.v1.worker.gpu.sample.logits_processor") is not None
HOSTILE = {
    "odd number of slots": {"max_num_seqs": 7},
    "tiny budget": {"max_num_seqs": 64, "max_num_batched_tokens": 280},
    "three pairs": {"max_num_seqs": 64, "max_model_len": 320, "block_size": 32, "num_gpu_blocks_override": 3 * 10 + 1},
    "all at once": {
        "max_num_seqs": 7,
        "max_num_batched_tokens": 280,
        "max_model_len": 320,
        "block_size": 32,
        "num_gpu_blocks_override": 3 * 10 + 1,
    },
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "all at once" else pytest.mark.slow) for name in HOSTILE]
)
def test_hostile_engines_keep_pairs_in_step(
    calibration_world, reference, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With the admission rule no pair falls out of step. Without it pairs do: they are found and decoded again, and the
    answers are the same."""
    requests = calibration_world.requests[:24]
    with vllm_decoder(calibration_world.models["Qwen2.5-VL"], **HOSTILE[name]) as hostile:
        assert answers(hostile, requests, 0.8) == reference("Qwen2.5-VL", 24, 0.8)
        assert hostile.num_redecoded == 0
        monkeypatch.setattr(Admission, "fits", lambda admission, wanted: True)
        assert answers(hostile, requests, 0.8) == reference("Qwen2.5-VL", 24, 0.8)
        assert hostile.num_redecoded > 0


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [1.05, 1.0])
def test_equals_the_transformers_path_everywhere(calibration_world, reference, family: str, penalty: float) -> None:
    """Both families, all scales, penalty on and off, every question of the world: none may differ in any token."""
    requests = calibration_world.requests
    assert len(requests) >= 200
    with vllm_decoder(calibration_world.models[family], repetition_penalty=penalty) as everywhere:
        for scale in SCALES:
            assert answers(everywhere, requests, scale) == reference(family, len(requests), scale, penalty)
        assert everywhere.num_redecoded == 0


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [0.0, 0.8])
def test_on_a_gpu_equals_the_transformers_path(calibration_world, reference, family: str, scale: float) -> None:
    """With the logits processor of this vLLM's model runner. float32, as everywhere where tokens are compared."""
    decoder = load_decoder(calibration_world.models[family], backend="vllm", dtype="float32", max_new_tokens=NEW_TOKENS)
    assert isinstance(decoder, VllmDecoder)
    (processor,) = decoder.engine.vllm_config.model_config.logits_processors
    assert processor.__name__ == ("PairedLogitsV2" if V2_HAS_LOGITS_PROCESSORS else "PairedLogitsV1")
    requests = calibration_world.requests[:100]
    reference_decoder = load_decoder(
        calibration_world.models[family], backend="hf", dtype="float32", batch_size=16, max_new_tokens=NEW_TOKENS
    )
    assert answers(decoder, requests, scale) == answers(reference_decoder, requests, scale)
    assert decoder.num_redecoded == 0
    decoder.close()
