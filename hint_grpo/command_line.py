"""The command line of train_model.py: flags and a YAML file become the dataclasses of `hint_grpo.config` and TRL's ModelConfig.

A user's mistake is a UserError: one line that says how to fix it, before a model loads.
"""

import hint_grpo.stack  # noqa: F401

from pathlib import Path
from typing import Any, NoReturn

from transformers.utils import is_flash_attn_2_available
from trl import ModelConfig, TrlParser

from hint_grpo.config import HintGRPOConfig, ScriptArguments
from hint_grpo.errors import UserError
from hint_grpo.families import vllm_has

# The language model's projections; the picture encoder stays as it is.
LORA_TARGETS = r".*language_model\..*_proj"


def check_model(model: ModelConfig, training: HintGRPOConfig) -> None:
    """The mistakes about the model that show without loading it."""
    path = model.model_name_or_path
    if not path:
        raise UserError(
            "--model_name_or_path is missing: give a vision-language model's folder or Hub name (README, Models)"
        )
    looks_local = path.startswith((".", "/", "~")) or path.endswith("/") or path.count("/") > 1
    if looks_local and not (Path(path) / "config.json").is_file():
        raise UserError(f"--model_name_or_path {path} holds no config.json; give the folder of a downloaded model")
    if training.use_vllm and looks_local and not vllm_has(Path(path)):
        raise UserError(f"vLLM does not have the family of {path}: take --use_vllm false")
    if (model.attn_implementation or "").startswith("flash_attention") and not is_flash_attn_2_available():
        raise UserError(
            f"--attn_implementation {model.attn_implementation} needs flash-attn: pip install flash-attn "
            "--no-build-isolation (it is built against your torch), or use --attn_implementation sdpa, or a kernel from "
            "the Hub: --attn_implementation kernels-community/flash-attn2 (pip install kernels)"
        )
    if model.use_peft and model.lora_target_modules is None:
        model.lora_target_modules = LORA_TARGETS  # peft has no default for these models
    if training.gradient_checkpointing and model.use_peft:
        training.gradient_checkpointing_kwargs = training.gradient_checkpointing_kwargs or {"use_reentrant": False}


class _Parser(TrlParser):
    """argparse prints its whole usage, pages of it, before an error; one line is enough."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (train_model.py --help lists the flags)")


def parse(arguments: list[str] | None = None) -> tuple[ScriptArguments, HintGRPOConfig, ModelConfig]:
    """Reads flags and a YAML file (--config). Raises UserError for every mistake of the user's."""
    parser = _Parser((ScriptArguments, HintGRPOConfig, ModelConfig))
    try:
        parsed: tuple[Any, ...] = parser.parse_args_and_config(arguments)
    except (ValueError, FileNotFoundError) as error:  # TRL's and transformers' own checks of flags
        raise UserError(str(error)) from error
    script, training, model = parsed
    if script.torch_dtype:
        model.dtype = script.torch_dtype
    check_model(model, training)
    return script, training, model
