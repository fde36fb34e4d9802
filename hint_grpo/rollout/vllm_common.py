"""Putting new weights into a vLLM engine, inside the engine's own process."""

import hint_grpo.machine.stack

import time
from collections.abc import Callable
from typing import Any

import torch

# ----------------------------------------------------------------------------------------------------
# What vLLM is asked for one turn, in the process or over HTTP: plain values, the fields of vLLM's SamplingParams.

NEVER = -100.0  # logit bias; vLLM's bound for it
FINAL_ONLY = 2  # RequestOutputKind: every completion once, when it is whole


def sampling_settings(args: Any, suppressed_ids: list[int], *, seed: int, num_generations: int) -> dict[str, Any]:
    """G completions by the trainer's settings `args`; `suppressed_ids` are never sampled."""
    settings = {
        "n": num_generations,
        "seed": seed,  # completion g gets seed + g
        "temperature": args.temperature,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "min_p": args.min_p or 0.0,
        "repetition_penalty": args.repetition_penalty,
        "max_tokens": args.max_completion_length,
        "logprobs": 0,  # of the sampled token alone
        "logit_bias": dict.fromkeys(suppressed_ids, NEVER),
        "output_kind": FINAL_ONLY,
        "detokenize": False,
    }
    return settings | (args.generation_kwargs or {})


RESET_ATTEMPTS, RESET_PAUSE_S = 20, 0.5


def repack_tied_head(model: torch.nn.Module) -> None:
    """vLLM's CPU build computes the output head from a packed copy. A reload makes it anew where it loads the head, but passes
    a head by that is tied to the embeddings: the copy would keep the old weights, and sampling would follow them."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    if hint_grpo.machine.stack.HAS_CUDA:
        return
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def forget_prefixes(reset: Callable[[], bool]) -> None:
    """Calls `reset` until vLLM has dropped the prefixes that the old weights computed. It answers False while requests hold
    blocks of the cache, and keeps every prefix then: sampling on from it would mix old weights with new ones."""
    for attempt in range(RESET_ATTEMPTS):
        if attempt:
            time.sleep(RESET_PAUSE_S)
        if reset():
            return
    raise RuntimeError(
        f"vLLM did not reset its prefix cache in {RESET_ATTEMPTS} attempts: requests still hold blocks of it, and it would go on "
        "with what the old weights computed"
    )


class WeightLoading:
    """Mixed into the workers of a vLLM server (--worker-extension-cls); called through /collective_rpc."""

    model_runner: Any
    reload_weights: Callable[..., None]  # the worker's, inside vLLM's configuration

    def load_weights_from(self, folder: str) -> None:
        """Replaces the weights by those of the safetensors files in `folder`."""
        self.reload_weights(weights_path=folder)
        repack_tied_head(self.model_runner.get_model())
