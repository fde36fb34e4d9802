"""Builds the vLLM engine that calibrated decoding (hint_grpo.calibration.vllm) steps by hand."""

from hint_grpo.machine.stack import HAS_CUDA, inspect_models_in_this_process

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from vllm import EngineArgs, LLMEngine

from hint_grpo.calibration.admission import Capacity
from hint_grpo.calibration.prompting import GreedyRules, QuestionEncoder
from hint_grpo.calibration.rows import CONFIG_KEY
from hint_grpo.machine.errors import UserError

MAX_QUESTION_TOKENS = 4096
"""Tokens reserved for a prompt's text, in addition to the largest picture, when the context length is chosen."""
MIN_BATCHED_TOKENS = 8192
PICTURE_CACHE_BYTES = 1 << 30
"""Encoded pictures kept for the next scale, in bytes; not part of vLLM's share of a GPU (gpu_memory_utilization)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine is built from. `overrides` are fields of EngineArgs and have the highest priority."""

    model_path: Path
    dtype: str
    max_num_seqs: int
    max_new_tokens: int
    gpu_memory_utilization: float
    trust_remote_code: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)


def build_engine(settings: EngineSettings, encoder: QuestionEncoder, rules: GreedyRules, config: Any) -> LLMEngine:
    """An engine in this process, with the logits processor for its model runner's interface.

    Raises UserError if vLLM cannot load the model with these settings (memory, context length, a bad combination).
    """
    _use_v1_if_v2_has_no_logits_processors()
    inspect_models_in_this_process()
    try:
        vllm_config = EngineArgs(**engine_values(settings, encoder, rules)).create_engine_config()
        vllm_config.model_config.logits_processors = [_logits_processor(vllm_config)]
        vllm_config.scheduler_config.encoder_cache_size = max(
            vllm_config.scheduler_config.encoder_cache_size, _picture_cache_tokens(config, settings.dtype)
        )
        return LLMEngine.from_vllm_config(vllm_config)
    except ValueError as error:  # its message names what does not fit
        raise UserError(f"vLLM cannot load {settings.model_path}: {error}") from error


def capacity_of(engine: LLMEngine) -> Capacity:
    """What a started engine can hold. One block of the cache is reserved by vLLM, and a watermark of them stays free."""
    config = engine.vllm_config
    num_blocks = config.cache_config.num_gpu_blocks
    assert num_blocks is not None, "the engine has not started"
    kept_free = int(getattr(config.scheduler_config, "watermark", 0.0) * num_blocks)
    return Capacity(
        config.scheduler_config.max_num_seqs,
        config.scheduler_config.max_num_batched_tokens,
        num_blocks - 1 - kept_free,
        config.cache_config.block_size,
    )


def engine_values(settings: EngineSettings, encoder: QuestionEncoder, rules: GreedyRules) -> dict[str, Any]:
    """The fields of EngineArgs, by name."""
    limits = encoder.family.pixel_limits
    longest = encoder.family.max_image_tokens + MAX_QUESTION_TOKENS + settings.max_new_tokens
    max_model_len = min(encoder.context_length, longest)
    values: dict[str, Any] = {
        "model": str(settings.model_path),
        "dtype": settings.dtype,
        "load_format": "safetensors",  # no pickle
        "trust_remote_code": settings.trust_remote_code,
        "max_model_len": max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        # The longest pair has to fit into one step.
        "max_num_batched_tokens": max(MIN_BATCHED_TOKENS, max_model_len + MAX_QUESTION_TOKENS, settings.max_num_seqs),
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        # Always both limits: the image processor ignores a max_pixels alone when it is passed per call.
        "mm_processor_kwargs": {"min_pixels": limits[0], "max_pixels": limits[1]} if limits else None,
        "additional_config": {CONFIG_KEY: rules.as_dict()},
        "generation_config": "vllm",  # ignore the checkpoint's: GreedyRules hold what is applied
        "enable_prefix_caching": False,  # no prompt occurs twice at one scale
        "async_scheduling": False,  # the logits processor reads the tokens of the last step
        "enforce_eager": not HAS_CUDA,
        "disable_log_stats": True,
        "seed": 0,
    }
    if HAS_CUDA:
        values["gpu_memory_utilization"] = settings.gpu_memory_utilization
    return values | settings.overrides


def _logits_processor(vllm_config: Any) -> type:
    if vllm_config.use_v2_model_runner:
        from hint_grpo.calibration.vllm_v2 import PairedLogitsV2

        return PairedLogitsV2
    from hint_grpo.calibration.vllm_v1 import PairedLogitsV1

    return PairedLogitsV1


def _use_v1_if_v2_has_no_logits_processors() -> None:
    """Older vLLM has a Model Runner V2 without custom logits processors; its V1 runner supports them."""
    try:
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState  # noqa: F401
    except ImportError:
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")


def _picture_cache_tokens(config: Any, dtype: str) -> int:
    """PICTURE_CACHE_BYTES in image tokens, each of which is one hidden vector."""
    return PICTURE_CACHE_BYTES // (config.get_text_config().hidden_size * getattr(torch, dtype).itemsize)
