"""What is handed to vLLM after an update: the policy's weights, gathered layer by layer, without those that it already has.

    model -> layers_to_send -> [Layer, ...] -> announcement (names, dtypes, shapes) and tensors (one layer in memory at a time)

A layer is a transformer block (of the language model or of the picture encoder), or a module outside of them, such as the
embeddings. It differs from TRL's `_iter_named_params` in:

- under ZeRO-3 a layer is gathered in one collective. TRL gathers each parameter by itself, 730 of them in Qwen2-VL-7B, and with
  LoRA the whole model at once;
- frozen layers are sent once, or not at all if the engine loaded them itself;
- an adapter is merged into copies. TRL merges in place and subtracts again; the rounding of both stays in the base weights.

FSDP is left to TRL.
"""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import is_peft_model


class EngineWeights:
    """Which of the policy's weights vLLM has; a base class of both backends."""

    loaded_the_policy = False
    """Whether it has loaded the files that the policy was loaded from (`run.engine_loads_the_policy`)."""
    has_frozen = False
    """Whether it has the weights that are not trained, loaded or handed over."""


@dataclass(slots=True)
class Layer:
    """Parameters that are gathered and sent together.

    `parameters`: all of them, an adapter's too, by name in the policy. `adapted`: peft's layers whose adapter is merged for vLLM.
    """

    is_block: bool
    parameters: dict[str, torch.nn.Parameter] = field(default_factory=dict)
    adapted: list[Any] = field(default_factory=list)

    @property
    def is_trained(self) -> bool:
        return any(parameter.requires_grad for parameter in self.parameters.values())

    @property
    def sent(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The parameters that vLLM has too, under the names of the checkpoint."""
        for name, parameter in self.parameters.items():
            if (name_in_vllm := checkpoint_name(name)) is not None:
                yield name_in_vllm, parameter


def layers_of(model: torch.nn.Module) -> list[Layer]:
    """All parameters of the policy, each once (a head that is tied to the embeddings is left out), in the model's order."""
    adapted = _adapted_modules(model)
    lists = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    blocks = {f"{name}.{place}" for name, blocks in lists.items() for place in range(len(blocks))}
    layers: dict[str, Layer] = {}

    def layer_of(name: str) -> Layer:
        """The outermost block, or, outside of blocks, the module that an adapter has been put into or that owns the parameter."""
        parts = name.split(".")
        owners = [".".join(parts[:end]) for end in range(len(parts))]
        owner = next((owner for owner in owners if owner in blocks or owner in adapted), owners[-1])
        return layers.setdefault(owner, Layer(is_block=owner in blocks))

    for name, parameter in model.named_parameters():
        layer_of(name).parameters[name] = parameter
    for name, module in adapted.items():
        layer_of(f"{name}.weight").adapted.append(module)
    return list(layers.values())


def layers_to_send(model: torch.nn.Module, *, with_frozen: bool) -> list[Layer]:
    """The layers whose weights an update may have changed, or all of them (`with_frozen`).

    A block is sent whole, and what is outside of the blocks as a whole: vLLM fuses parameters (q, k and v; gate and up), and its
    reload fills a fused layer of which only a part arrives with undefined memory. A layer of which nothing arrives keeps its
    weights (vllm/model_executor/model_loader/reload/layerwise.py, `finalize_layerwise_processing`).
    """
    layers = layers_of(model)
    rest_is_trained = any(layer.is_trained for layer in layers if not layer.is_block)
    return [layer for layer in layers if with_frozen or (layer.is_trained if layer.is_block else rest_is_trained)]


def announcement(layers: Iterable[Layer]) -> list[tuple[str, str, list[int]]]:
    """(name, dtype such as "bfloat16", shape) of everything that `tensors` will yield. Needs no collective."""
    return [
        (name, str(parameter.dtype).removeprefix("torch."), list(getattr(parameter, "ds_shape", parameter.shape)))
        for layer in layers
        for name, parameter in layer.sent
    ]


def tensors(layers: Sequence[Layer]) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and whole weights, adapters merged. Under ZeRO-3 a collective operation: every rank has to iterate to the end.

    A tensor may be kept after the iterator has moved on (vLLM keeps tensors until its fused layer is complete, its NCCL sender
    until a buffer is full): nothing here writes to it. Without ZeRO-3 and adapters it is the policy's parameter itself.

    vLLM's NCCL sender calls the iterator in alternating CUDA streams (vllm/distributed/weight_transfer/packed_tensor.py), and a
    layer may begin in one and end in the other: it is complete before its first tensor is used, and its memory is not reused
    before the stream that uses it is done.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # the update, on the stream of the training
    for layer in layers:
        if not any(layer.sent):  # a module that peft has replaced by a trained copy
            continue
        with gathered(layer.parameters.values()), merged(layer.adapted):
            if torch.cuda.is_available():
                torch.cuda.current_stream().synchronize()
            for name, parameter in layer.sent:
                if parameter.is_cuda:
                    parameter.data.record_stream(torch.cuda.current_stream())
                yield name, parameter.data


def checkpoint_name(name: str) -> str | None:
    """A parameter's name without what peft and gradient checkpointing insert; None if it belongs to an adapter or was replaced
    by a trained copy (peft's modules_to_save)."""
    if ".lora_" in name or ".original_module." in name:
        return None
    name = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
    return name.replace("_checkpoint_wrapped_module.", "")


@contextmanager
def gathered(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Makes parameters whole that ZeRO-3 has partitioned, in one all-gather per dtype; parameters that are whole stay so.

    `GatheredParameters` alone starts one all-gather per parameter (deepspeed/runtime/zero/partition_parameters.py,
    `_allgather_params_coalesced`). What is gathered already when it is entered it only partitions again at the end. Its own way
    is left to the partitions of ZeRO++ (quantised, or with a second copy inside a node).
    """
    zero3: Iterator[Any] = (parameter for parameter in parameters if hasattr(parameter, "ds_id"))
    partitioned = [parameter for parameter in zero3 if parameter.ds_status.name == "NOT_AVAILABLE"]
    if not partitioned:
        yield
        return
    import deepspeed

    plain = [p for p in partitioned if p.ds_secondary_tensor is None and not hasattr(p.ds_tensor, "ds_quant_scale")]
    if plain:
        plain[0].all_gather_coalesced(plain).wait()
    with deepspeed.zero.GatheredParameters(partitioned):
        yield


@contextmanager
def merged(adapted: Sequence[Any]) -> Iterator[None]:
    """Merges adapters for the time of the block, into copies of their base weights, which come back unchanged to the last bit."""
    base = {parameter: parameter.data for module in adapted for parameter in module.get_base_layer().parameters()}
    with ExitStack() as stack:
        for parameter, original in base.items():
            stack.callback(setattr, parameter, "data", original)
            parameter.data = original.clone()
        for module in adapted:
            module.merge()
        try:
            yield
        finally:
            # peft subtracts the adapter in place: from memory that nobody reads, since the merged tensors may still be in use.
            for parameter, original in base.items():
                parameter.data = torch.empty_like(original)
            for module in adapted:
                module.unmerge()


def _adapted_modules(model: torch.nn.Module) -> dict[str, Any]:
    """peft's layers that hold an adapter to merge, by name."""
    if not is_peft_model(model):
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
