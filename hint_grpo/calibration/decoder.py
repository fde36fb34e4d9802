"""The contract between `hint_grpo.calibration` and `hint_grpo.evaluation`: what a decoder is given and what it returns.

Light to import. `load_decoder` (hint_grpo.calibration.load) builds a decoder.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hint_grpo.data.decoded import DecodedPicture
from hint_grpo.families import vllm_supports
from hint_grpo.machine.errors import UserError

BACKENDS = ("auto", "vllm", "hf")
DTYPES = ("auto", "bfloat16", "float16", "float32")
PICTURE_PROCESSING = ("processor", "qwen_vl_utils")  # see hint_grpo.data.picture_processing

# ----------------------------------------------------------------------------------------------------
# Request, completion, decoder


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One question to answer. `image` is an absolute path; None asks without the picture (the blind test).

    `decoded`: the picture's size and its place among decoded pictures, if they are known; `image` is then opened only if the
    place is missing.
    """

    id: str
    question: str
    image: str | None
    decoded: DecodedPicture | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One greedy completion. `token_ids` include the end token if there is one; `text` has no special tokens.

    `finish_reason`: "stop" after an end token, "length" at the limit of new tokens.
    """

    id: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]


class Decoder(Protocol):
    """Greedy decoding with text-bias calibration (paper section 3.3)."""

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        """Yields completions as they finish, in any order, exactly one per request. Scale 0 is plain greedy decoding."""
        ...

    def close(self) -> None:
        """Frees the model's memory; the decoder cannot be used afterwards."""
        ...


# ----------------------------------------------------------------------------------------------------
# Choices made before anything heavy is imported
#
# The evaluation needs backend and dtype for its cache key, in a process that loads no model. So neither torch nor
# transformers is imported here.


def choose_backend(backend: str, model_path: Path | None = None) -> str:
    """ "vllm" or "hf". "auto" is vLLM if it is installed and, if `model_path` is given, supports the model's family.

    Raises UserError for an unknown backend, and for "vllm" if it is not installed or does not support the model.
    """
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    usable = importlib.util.find_spec("vllm") is not None
    if backend == "vllm" and not usable:
        raise UserError("backend vllm: vLLM is not installed; install requirements.txt, or use --backend hf")
    if model_path is not None and usable and not vllm_supports(model_path):
        if backend == "vllm":
            raise UserError(f"backend vllm: vLLM does not support the model family of {model_path}; use --backend hf")
        usable = False
    return ("vllm" if usable else "hf") if backend == "auto" else backend


def choose_dtype_name(dtype: str | None, *, has_gpu: bool) -> str:
    """The dtype's name; None and "auto" are bfloat16 on a GPU and float32 without. UserError for an unknown name."""
    name = (dtype or "auto").removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"unknown dtype {dtype}: choose one of {', '.join(DTYPES)}")
    return ("bfloat16" if has_gpu else "float32") if name == "auto" else name
