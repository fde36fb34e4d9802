"""The weights that a vLLM model computes with, and transformers' weights under vLLM's names, to compare the two."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterator, Mapping

import torch
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

PARTS = {"q_proj": ("qkv_proj", 0), "k_proj": ("qkv_proj", 1), "v_proj": ("qkv_proj", 2)}
PARTS |= {"gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1)}
EMBEDDING, HEAD = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"


def tensors_in_vllm(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A layer that is packed for the CPU, the output head among them, is read by multiplying with the identity."""
    for prefix, module in model.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            if name == "weight" and isinstance(module, LinearBase):
                width = getattr(module, "input_size_per_partition", module.input_size)
                tensor = module.quant_method.apply(module, torch.eye(width, dtype=module.params_dtype), None).T
            elif name == "weight" and isinstance(module, ParallelLMHead):
                identity = torch.eye(tensor.shape[1], dtype=tensor.dtype)
                tensor = module.quant_method.apply(module, identity, None).T
            yield f"{prefix}.{name}", tensor.detach()


def fused(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' names to vLLM's, with q, k, v and gate, up put together as vLLM has them; a tied head as its own tensor."""
    result: dict[str, torch.Tensor] = {}
    groups: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in state.items():
        name = name.replace("model.language_model.", "language_model.model.").replace("model.visual.", "visual.")
        name = HEAD if name == "lm_head.weight" else name
        *front, module, kind = name.split(".")
        if module in PARTS:
            whole, place = PARTS[module]
            groups.setdefault(".".join([*front, whole, kind]), {})[place] = tensor
        else:
            result[name] = tensor
    result.setdefault(HEAD, result[EMBEDDING])
    return result | {name: torch.cat([group[place] for place in sorted(group)]) for name, group in groups.items()}


def different_tensors(state: Mapping[str, torch.Tensor], model: torch.nn.Module) -> tuple[int, list[str]]:
    """How many tensors of `state` (transformers' names) vLLM's model has, and which of them differ in a bit."""
    got, expected = dict(tensors_in_vllm(model)), fused(state)
    assert expected.keys() <= got.keys()
    assert got.keys() - expected.keys() <= {HEAD}
    different = []
    for name, tensor in expected.items():
        present = got[name][: len(tensor)] if name in (EMBEDDING, HEAD) else got[name]  # vLLM pads the vocabulary
        if not torch.equal(present.reshape(-1), tensor.reshape(-1)):
            different.append(name)
    return len(expected), different
