"""What a decoding backend takes and gives: the contract between `hint_grpo.calibration` and `hint_grpo.evaluation`.

Light to import. `load_decoder` (hint_grpo.calibration.load) builds one.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hint_grpo.families import vllm_supports
from hint_grpo.machine.errors import UserError


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One question to answer. `image` is an absolute path; None asks without the picture (the blind test)."""

    id: str
    question: str
    image: str | None


@dataclass(frozen=True, slots=True)
class Completion:
    """One greedy completion. `token_ids` hold the end token where there is one; `text` is without special tokens."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]


class Decoder(Protocol):
    """Greedy decoding with text-bias calibration (paper section 3.3)."""

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        """Yields completions as they finish, in any order, each request exactly once."""
        ...

    def close(self) -> None: ...


# ----------------------------------------------------------------------------------------------------
# What can be decided about a decoder before anything heavy is imported: the backend, the dtype, the model's folder.
#
# The evaluation needs these answers (they are part of its cache key) in a process that loads no model. Neither torch nor
# transformers is imported here; `load` builds the decoder from what was chosen.

BACKENDS = ("auto", "vllm", "hf")
DTYPES = ("auto", "bfloat16", "float16", "float32")
PICTURE_PROCESSING = ("processor", "qwen_vl_utils")  # see hint_grpo.data.picture_processing


def choose_backend(backend: str, model_path: Path | None = None) -> str:
    """ "vllm" or "hf"; "auto" is vLLM where it is installed and, where `model_path` is given, has the model's family."""
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    installed = importlib.util.find_spec("vllm") is not None
    if backend == "vllm" and not installed:
        raise UserError("backend vllm: vLLM is not installed; install requirements.txt, or take --backend hf")
    if model_path is not None and installed and not vllm_supports(model_path):
        if backend == "vllm":
            raise UserError(f"backend vllm: vLLM does not have the model family of {model_path}; take --backend hf")
        installed = False
    return ("vllm" if installed else "hf") if backend == "auto" else backend


def choose_dtype_name(dtype: str | None, *, has_gpu: bool) -> str:
    """The dtype's name; None and "auto" are bfloat16 on a GPU and float32 without."""
    name = (dtype or "auto").removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"unknown dtype {dtype}: choose one of {', '.join(DTYPES)}")
    return ("bfloat16" if has_gpu else "float32") if name == "auto" else name


def model_directory(model_path: str | Path) -> Path:
    """The directory, once it is known to hold a model with weights (safetensors: no pickle is read)."""
    path = Path(model_path)
    if not path.is_dir():
        raise UserError(f"no model directory {path}; download the model first (hf download NAME --local-dir DIR)")
    if (path / "adapter_config.json").exists() and not (path / "config.json").exists():
        raise UserError(f"{path} holds a LoRA adapter, not a model: merge it into its base model first")
    if not (path / "config.json").exists():
        raise UserError(f"{path} has no config.json: give the directory of a whole model")
    weights = list(path.glob("*.safetensors"))
    if not weights or any(file.stat().st_size == 0 for file in weights):
        raise UserError(
            f"{path} has no weights (*.safetensors), or an empty file of them: its download is not complete"
        )
    return path
