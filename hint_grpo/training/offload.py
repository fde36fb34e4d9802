"""The host memory that ZeRO offload needs, by arithmetic, and its check before a model is loaded (docs/performance.md, Memory).

For N weights, of which this machine's processes hold the share `local / all`, with a training precision of P bytes:

    bytes = share * N * (12 + (P + 4) + P + P)       22 N in bf16

The terms are optimizer, gradients, parameters and the parameters of the reference model. `offload_optimizer` moves the first two
to the host, `offload_param` the last two. LoRA trains few weights (1 to 2 % of N, left out here) and has no reference model.

Sources in deepspeed/runtime/zero/stage3.py: the float32 copy is made in `_create_fp32_partitions`, Adam's two moments by
deepspeed/ops/adam/cpu_adam.py; gradients are kept in the training precision (`grad_partitions_flat_buffer`) and in float32
(`initialize_optimizer_states`); parameters are in `param_groups_fp16_flat_cpu_memory`. ZeRO-2 (stage_1_and_2.py) needs the same
18 bytes for optimizer and gradients. With `pin_memory`, gradients and parameters are pinned, and PyTorch's allocator rounds each
pinned allocation up to a power of two (aten/src/ATen/core/CachingHostAllocator.h): at most twice as much.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hint_grpo.hub import find_model
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.memory import Memory

FLOAT32_COPY, MOMENTS, FLOAT32_GRADIENTS = 4, 8, 4
GB = 1e9  # as in docs/performance.md


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of host memory: in all, and the part of it that is pinned, which may be rounded up to twice its size."""

    num_weights: int
    all: float
    pinned: float

    @property
    def at_most(self) -> float:
        return self.all + self.pinned


def is_used(zero: Mapping[str, Any]) -> bool:
    """Whether a configuration's "zero_optimization" moves something to the host's memory."""
    return any(_to_cpu(zero, part) is not None for part in ("offload_optimizer", "offload_param"))


def offload_need(
    zero: Mapping[str, Any],
    num_weights: int,
    *,
    precision: int,
    has_reference: bool,
    is_adapter: bool = False,
    share: float = 1.0,
) -> Need:
    """What a DeepSpeed configuration keeps in this machine's memory. `zero`: its "zero_optimization"; `precision`: bytes."""
    optimizer, parameters = (_to_cpu(zero, part) for part in ("offload_optimizer", "offload_param"))
    all_bytes = pinned_bytes = 0.0
    if optimizer is not None and not is_adapter:
        gradients = precision + FLOAT32_GRADIENTS
        all_bytes += FLOAT32_COPY + MOMENTS + gradients
        pinned_bytes += gradients if optimizer.get("pin_memory") else 0
    if parameters is not None and zero.get("stage") == 3:
        num_models = 2 if has_reference else 1
        all_bytes += num_models * precision
        pinned_bytes += num_models * precision if parameters.get("pin_memory") else 0
    return Need(num_weights, num_weights * share * all_bytes, num_weights * share * pinned_bytes)


def check_host_memory(need: Need, memory: Memory) -> str:
    """One line for the user: what offload needs and what the machine has; a warning if it may not be enough.

    Raises UserError only if it cannot be enough: without any rounding, the need exceeds all memory with the swap space, or its
    pinned part, which is never swapped, all memory.
    """
    needs = (
        f"ZeRO offload keeps {need.num_weights / 1e9:.2f} billion weights in this machine's memory, {need.all / GB:.0f} GB"
        + (f", up to {need.at_most / GB:.0f} GB if pinned allocations are rounded up" if need.pinned else "")
    )
    if need.all > memory.total + memory.swap or need.pinned > memory.total:
        raise UserError(
            f"{needs}, and this machine has {memory.total / GB:.0f} GB: use --deepspeed local_scripts/zero3.json with more GPUs, "
            "or --use_peft true"
        )
    if need.at_most > memory.available:
        return (
            f"warning: {needs}; only {memory.available / GB:.0f} GB are available, and the system ends a process that exceeds "
            "them: use --deepspeed local_scripts/zero3.json if the GPUs can hold it (docs/performance.md, Memory)"
        )
    return f"host memory: {needs}; {memory.available / GB:.0f} GB are available"


def num_weights_of(name: str, training: Any) -> int:
    """The weights of the model `name`: from its files, or from its configuration if they are not downloaded yet."""
    if found := num_stored_weights(find_model(name, "--model_name_or_path")):
        return found
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

    remote = {"trust_remote_code": training.trust_remote_code}
    config = AutoConfig.from_pretrained(name, **remote)
    unset_hf_deepspeed_config()  # under ZeRO-3, transformers would partition the model that is made here
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, **remote)
    finally:
        set_hf_deepspeed_config(training.hf_deepspeed_config)
    return sum(parameter.numel() for parameter in model.parameters())


def num_stored_weights(folder: Path) -> int | None:
    """The weights in a model's safetensors files, by their headers; None if there are none, or a file is not readable.

    A file begins with the length of its header in 8 bytes, then the header: {"name": {"dtype": .., "shape": [..], ..}, ..}.
    """
    count = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                header = json.loads(file.read(length)) if length < 100_000_000 else None
            except ValueError:
                header = None
        if not isinstance(header, dict):
            return None
        count += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return count or None


def _to_cpu(zero: Mapping[str, Any], part: str) -> Mapping[str, Any] | None:
    """The part of the configuration, if it moves something to the host's memory (not to a disk)."""
    settings = zero.get(part)
    return settings if isinstance(settings, Mapping) and settings.get("device") == "cpu" else None
