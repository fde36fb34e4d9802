"""In which precision weights are kept while they are trained.

A bfloat16 number has 8 significant bits: an update of 1e-6 to a weight of 0.01 is lost to rounding, so AdamW at the default
learning rate leaves almost every bfloat16 weight where it is. DeepSpeed and FSDP keep a float32 copy; LoRA trains float32
adapters. Without them the weights themselves are kept in float32, and autocast computes in the precision that was asked for.
"""

import os
from collections.abc import Mapping
from typing import Any

AUTOCAST = {"bfloat16": "bf16", "float16": "fp16"}


def has_float32_copy(values: Mapping[str, Any]) -> bool:
    """Whether something else keeps the float32 weights: DeepSpeed, FSDP (also by accelerate's launcher), LoRA."""
    launched = any(
        os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("true", "1") for name in ("DEEPSPEED", "FSDP")
    )
    return bool(launched or values["deepspeed"] or values["fsdp"] or values["use_peft"])


def needs_float32(dtype: str | None, values: Mapping[str, Any]) -> bool:
    """Whether weights asked for in `dtype` must be kept in float32, because nothing else would keep a copy of them."""
    return dtype in AUTOCAST and not has_float32_copy(values)
