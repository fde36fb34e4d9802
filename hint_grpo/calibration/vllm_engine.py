"""Builds the vLLM engine that calibrated decoding steps by hand."""

from hint_grpo.machine.stack import HAS_CUDA, inspect_models_in_this_process

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from vllm import EngineArgs, LLMEngine

from hint_grpo.calibration.admission import Capacity
from hint_grpo.calibration.prompting import QuestionEncoder
from hint_grpo.calibration.rows import CONFIG_KEY
from hint_grpo.calibration.rules import GreedyRules
from hint_grpo.machine.errors import UserError

MAX_QUESTION_TOKENS = 4096
"""Room for the text of a prompt, over the largest picture, when the context is chosen."""
MIN_BATCHED_TOKENS = 8192
PICTURE_CACHE_BYTES = 1 << 30
"""Encoded pictures that stay in memory for the next scale; beside vLLM's share of a GPU (gpu_memory_utilization)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """`overrides` are EngineArgs' own, the last word."""

    model_path: Path
    dtype: str
    max_num_seqs: int
    max_new_tokens: int
    gpu_memory_utilization: float
    trust_remote_code: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)


def build_engine(settings: EngineSettings, encoder: QuestionEncoder, rules: GreedyRules, config: Any) -> LLMEngine:
    """An engine in this process, with the logits processor of the interface that its model runner speaks."""
    _keep_to_v1_where_v2_takes_no_processor()
    inspect_models_in_this_process()
    try:
        vllm_config = _engine_args(settings, encoder, rules).create_engine_config()
        vllm_config.model_config.logits_processors = [_logits_processor(vllm_config)]
        vllm_config.scheduler_config.encoder_cache_size = max(
            vllm_config.scheduler_config.encoder_cache_size, _picture_cache_tokens(config, settings.dtype)
        )
        return LLMEngine.from_vllm_config(vllm_config)
    except ValueError as error:  # vLLM says what does not fit (memory, context, a bad combination)
        raise UserError(f"vLLM cannot load {settings.model_path}: {error}") from error


def capacity_of(engine: LLMEngine) -> Capacity:
    """What the engine can hold, once it is up. One block of the cache is vLLM's own."""
    config = engine.vllm_config
    num_blocks = config.cache_config.num_gpu_blocks
    assert num_blocks is not None, "the engine is not up"
    kept_free = int(getattr(config.scheduler_config, "watermark", 0.0) * num_blocks)
    return Capacity(
        config.scheduler_config.max_num_seqs,
        config.scheduler_config.max_num_batched_tokens,
        num_blocks - 1 - kept_free,
        config.cache_config.block_size,
    )


def _engine_args(settings: EngineSettings, encoder: QuestionEncoder, rules: GreedyRules) -> EngineArgs:
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
        # Both limits, always: a max_pixels alone is ignored by the image processor when it is passed per call.
        "mm_processor_kwargs": {"min_pixels": limits[0], "max_pixels": limits[1]} if limits else None,
        "additional_config": {CONFIG_KEY: rules.as_dict()},
        "generation_config": "vllm",  # none of the checkpoint's: GreedyRules hold what counts
        "enable_prefix_caching": False,  # no prompt is asked twice at one scale
        "async_scheduling": False,  # the processor reads the tokens of the last step
        "enforce_eager": not HAS_CUDA,
        "disable_log_stats": True,
        "seed": 0,
    }
    if HAS_CUDA:
        values["gpu_memory_utilization"] = settings.gpu_memory_utilization
    return EngineArgs(**(values | settings.overrides))


def _logits_processor(vllm_config: Any) -> type:
    if vllm_config.use_v2_model_runner:
        from hint_grpo.calibration.vllm_v2 import PairedLogitsV2

        return PairedLogitsV2
    from hint_grpo.calibration.vllm_v1 import PairedLogitsV1

    return PairedLogitsV1


def _keep_to_v1_where_v2_takes_no_processor() -> None:
    """Older vLLM has a Model Runner V2 that is given no custom logits processor; the V1 runner is there still."""
    try:
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState  # noqa: F401
    except ImportError:
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")


def _picture_cache_tokens(config: Any, dtype: str) -> int:
    return PICTURE_CACHE_BYTES // (config.get_text_config().hidden_size * getattr(torch, dtype).itemsize)
