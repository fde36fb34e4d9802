"""`load_decoder`: from a model's folder to a Decoder. The model class comes from config.json, never from the folder's name."""

from hint_grpo.machine.stack import HAS_CUDA

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoProcessor, GenerationConfig

from hint_grpo.calibration.decoder import PICTURE_PROCESSING, Decoder, choose_backend, choose_dtype_name
from hint_grpo.calibration.prompting import GreedyRules, QuestionEncoder, read_rules
from hint_grpo.families import family_of
from hint_grpo.hub import SAFETENSORS, check_model_files
from hint_grpo.machine.errors import UserError

# Questions decoded at a time. transformers: as in the paper's code. vLLM: rows are cheap until the cache is full.
HF_BATCH_SIZE = 10
VLLM_BATCH_SIZE = 128 if HAS_CUDA else 32


def load_decoder(
    model_path: str | Path,
    *,
    backend: str = "auto",
    batch_size: int | None = None,
    max_new_tokens: int = 1024,
    max_pixels: int | None = None,
    picture_processing: str = "processor",
    dtype: str | torch.dtype | None = None,
    repetition_penalty: float | None = None,
    gpu_memory_utilization: float = 0.9,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    vllm_engine_args: Mapping[str, Any] | None = None,
    decoded_file: int | None = None,
) -> Decoder:
    """A greedy decoder with text-bias calibration; every call of `decode(requests, scale)` may use another scale.

    backend: "vllm" (the fast path), "hf" (transformers, the reference), "auto": vLLM if it is installed and supports the model.
    batch_size: questions decoded at a time (default: 10 for hf; for vLLM 128 on a GPU, 32 without).
    max_pixels: larger pictures are scaled down to this many pixels (default: the checkpoint's own limit).
    picture_processing: "processor", or "qwen_vl_utils" as in the authors' evaluation (hint_grpo.data.picture_processing).
    dtype: "bfloat16", "float16" or "float32" (default: bfloat16 on a GPU, float32 without).
    repetition_penalty: replaces the one in the checkpoint's generation_config.json; 1.0 is none.
    attn_implementation: hf only, passed to transformers.
    gpu_memory_utilization, vllm_engine_args: vLLM only; the latter are fields of EngineArgs (max_num_seqs, enforce_eager, ..).
    decoded_file: the number of an open file of decoded pictures (hint_grpo.data.decoded), for requests that name their place.

    Raises UserError for a bad setting, an incomplete model folder, or a model that this project cannot decode.
    """
    _check_settings(backend, picture_processing, batch_size, max_new_tokens, max_pixels)
    path = Path(model_path)
    check_model_files(path, f"model_path {path}", weights=SAFETENSORS)  # no pickle is ever read
    backend = choose_backend(backend, path)
    torch_dtype = choose_dtype(dtype)
    config = _read_config(path, trust_remote_code)
    processor = load_decoding_processor(path, max_pixels, trust_remote_code)
    encoder = QuestionEncoder(
        processor,
        max_new_tokens=max_new_tokens,
        context_length=config.get_text_config().max_position_embeddings,
        picture_processing=picture_processing,
        decoded_file=decoded_file,
    )
    rules = load_rules(path, config, processor.tokenizer, repetition_penalty)
    with _unreadable_weights_as_user_error(path):
        if backend == "hf":
            model = load_hf_model(path, torch_dtype, attn_implementation, trust_remote_code)
            return _hf_decoder(model, encoder, rules, batch_size, max_new_tokens)
        engine_options = {
            "model_path": path,
            "dtype": str(torch_dtype).removeprefix("torch."),
            "gpu_memory_utilization": gpu_memory_utilization,
            "trust_remote_code": trust_remote_code,
            "overrides": dict(vllm_engine_args or {}),
        }
        return _vllm_decoder(engine_options, encoder, rules, config, batch_size, max_new_tokens)


# ----------------------------------------------------------------------------------------------------
# The two backends: imported here, because each needs a heavy library that the other does not


def import_backend(backend: str) -> None:
    """Imports what `load_decoder` will need for "hf" or "vllm", so that it can begin with the weights."""
    importlib.import_module(f"hint_grpo.calibration.{backend}")


def _hf_decoder(
    model: Any, encoder: QuestionEncoder, rules: GreedyRules, batch_size: int | None, max_new_tokens: int
) -> Decoder:
    from hint_grpo.calibration.hf import HfDecoder

    return HfDecoder(model, encoder, rules, batch_size=batch_size or HF_BATCH_SIZE, max_new_tokens=max_new_tokens)


def _vllm_decoder(
    engine_options: Mapping[str, Any],
    encoder: QuestionEncoder,
    rules: GreedyRules,
    config: Any,
    batch_size: int | None,
    max_new_tokens: int,
) -> Decoder:
    from hint_grpo.calibration.vllm import VllmDecoder
    from hint_grpo.calibration.vllm_engine import EngineSettings, build_engine

    # A calibrated question is two requests, with and without its picture.
    max_num_seqs = 2 * (batch_size or VLLM_BATCH_SIZE)
    settings = EngineSettings(max_num_seqs=max_num_seqs, max_new_tokens=max_new_tokens, **engine_options)
    engine = build_engine(settings, encoder, rules, config)
    return VllmDecoder(engine, encoder, rules, max_new_tokens=max_new_tokens)


def load_hf_model(path: Path, dtype: torch.dtype, attn_implementation: str | None, trust_remote_code: bool) -> Any:
    """The transformers model in evaluation mode, on the GPU if there is one. UserError for a missing attention kernel."""
    from transformers import AutoModelForImageTextToText

    kwargs = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(
            path, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code, **kwargs
        )
    except ImportError as error:  # an attention kernel that is not installed
        raise UserError(f"attn_implementation {attn_implementation}: {error}; leave it out, or use sdpa") from error
    return model.to("cuda" if HAS_CUDA else "cpu").eval()


# ----------------------------------------------------------------------------------------------------
# The parts of a checkpoint beside its weights


def _read_config(path: Path, trust_remote_code: bool) -> Any:
    config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not trust_remote_code:
        raise UserError(
            f"{path} is a {config.model_type} model, which does not accept pictures: give a vision-language model"
        )
    return config


def load_decoding_processor(path: Path, max_pixels: int | None, trust_remote_code: bool) -> Any:
    """The checkpoint's processor with padding on the left; `max_pixels` replaces the image processor's upper limit.

    Raises UserError if it cannot be loaded, does not accept images, or cannot be limited to `max_pixels`.
    """
    try:
        processor = AutoProcessor.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} has no usable processor (tokenizer.json, processor_config.json, ..): {error}"
        ) from error
    processor.tokenizer.padding_side = "left"
    if not hasattr(processor, "image_processor"):
        raise UserError(f"{path} is not a vision-language model: its processor does not accept images")
    if max_pixels is not None:
        limits = family_of(processor).pixel_limits
        if limits is None:
            raise UserError(f"{type(processor.image_processor).__name__} has no limit of pixels: leave out max_pixels")
        smallest, _ = limits
        if max_pixels < smallest:
            raise UserError(f"max_pixels {max_pixels} is below the checkpoint's smallest picture of {smallest} pixels")
        size_class = type(processor.image_processor.size)
        processor.image_processor.size = size_class(shortest_edge=smallest, longest_edge=max_pixels)
    return processor


def load_rules(path: Path, config: Any, tokenizer: Any, repetition_penalty: float | None) -> GreedyRules:
    """The checkpoint's rules for greedy decoding, from its generation_config.json or else from its config."""
    if (path / "generation_config.json").exists():
        generation_config = GenerationConfig.from_pretrained(path)
    else:
        generation_config = GenerationConfig.from_model_config(config)
    return read_rules(config, generation_config, tokenizer, repetition_penalty)


# ----------------------------------------------------------------------------------------------------
# Settings and errors


def choose_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The torch dtype; None and "auto" are bfloat16 on a GPU and float32 without. UserError for an unknown name."""
    return getattr(torch, choose_dtype_name(None if dtype is None else str(dtype), has_gpu=HAS_CUDA))


def _check_settings(
    backend: str, picture_processing: str, batch_size: int | None, max_new_tokens: int, max_pixels: int | None
) -> None:
    for name, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens), ("max_pixels", max_pixels)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: give a whole number of 1 or more")
    if picture_processing not in PICTURE_PROCESSING:
        raise UserError(
            f"unknown picture_processing {picture_processing!r}: choose one of {', '.join(PICTURE_PROCESSING)}"
        )
    choose_backend(backend)  # an unknown backend is reported before the folder is read


@contextmanager
def _unreadable_weights_as_user_error(path: Path) -> Iterator[None]:
    """A download that was cut off is an error the user can fix: one line instead of a traceback."""
    try:
        yield
    except SafetensorError as error:
        raise UserError(f"the weights in {path} are incomplete ({error}): download the model again") from error
