"""What both vLLM backends share: sampling settings, completions in pieces, and new weights in the engine's process."""

import hint_grpo.machine.stack

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from hint_grpo.rollout.escalation import Sampled

# ----------------------------------------------------------------------------------------------------
# Sampling settings: plain values, the fields of vLLM's SamplingParams, usable in the process and over HTTP

NEVER = -100.0  # logit bias; the lowest that vLLM accepts
FINAL_ONLY = 2  # RequestOutputKind.FINAL_ONLY: every completion once, when it has ended


def sampling_settings(args: Any, suppressed_ids: list[int], *, seed: int, num_generations: int) -> dict[str, Any]:
    """For the G completions of a turn, from the training flags `args`; tokens in `suppressed_ids` are never sampled."""
    settings = {
        "n": num_generations,
        "seed": seed,  # completion g gets seed + g
        "temperature": args.temperature,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "min_p": args.min_p or 0.0,
        "repetition_penalty": args.repetition_penalty,
        "max_tokens": args.max_completion_length,
        "logprobs": 0,  # only of the sampled token
        "logit_bias": dict.fromkeys(suppressed_ids, NEVER),
        "output_kind": FINAL_ONLY,
        "detokenize": False,
    }
    return settings | (args.generation_kwargs or {})


# ----------------------------------------------------------------------------------------------------
# Completions one by one

SCORERS = 4  # threads that score single completions; as many as scoring/pool.py keeps idle workers


@dataclass(slots=True)
class Pieces:
    """The completions of a turn that have not ended yet, by place in the group: their tokens and log-probabilities so far."""

    token_ids: dict[int, list[int]] = field(default_factory=dict)
    logps: dict[int, list[float]] = field(default_factory=dict)

    def add(
        self,
        place: int,
        token_ids: Sequence[int],
        logps: Sequence[float],
        finish_reason: Literal["stop", "length"] | None,
    ) -> Sampled | None:
        """The whole completion, if this was its last piece."""
        self.token_ids.setdefault(place, []).extend(token_ids)
        self.logps.setdefault(place, []).extend(logps)
        if finish_reason is None:
            return None
        return Sampled(self.token_ids.pop(place), self.logps.pop(place), finish_reason)

    @property
    def lengths(self) -> list[int]:
        return [len(token_ids) for token_ids in self.token_ids.values()]


# ----------------------------------------------------------------------------------------------------
# New weights

RESET_ATTEMPTS, RESET_PAUSE_S = 20, 0.5

# What vLLM logs, at every hand-over, about each layer that keeps its weights because it is not trained (`weights`). Weights that
# should have arrived and did not are found by their log-probabilities (`hint_grpo.training.monitoring`).
KEPT_LAYERS = ("%s: Failed to load weights", "Following weights were not loaded from checkpoint: %s")
for _logger in ("vllm.model_executor.model_loader.reload.layerwise", "vllm.v1.worker.gpu_model_runner"):
    logging.getLogger(_logger).addFilter(lambda record: record.msg not in KEPT_LAYERS)


def repack_tied_head(model: torch.nn.Module) -> None:
    """Renews the packed copy of the output head in vLLM's CPU build. A reload renews it when it loads the head, but skips a head
    that is tied to the embeddings; the copy would keep the old weights, and sampling would use them."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    if hint_grpo.machine.stack.HAS_CUDA:
        return
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def forget_prefixes(reset: Callable[[], bool]) -> None:
    """Calls `reset` until vLLM has dropped the cached prefixes of the old weights. vLLM returns False, and keeps all of them,
    while requests hold blocks of the cache; sampling from them would mix old and new weights. RuntimeError after
    RESET_ATTEMPTS."""
    for attempt in range(RESET_ATTEMPTS):
        if attempt:
            time.sleep(RESET_PAUSE_S)
        if reset():
            return
    raise RuntimeError(
        f"vLLM did not reset its prefix cache in {RESET_ATTEMPTS} attempts: requests still hold blocks of it, and sampling "
        "would continue from what the old weights computed"
    )


class WeightLoading:
    """Mixed into the workers of a vLLM server (--worker-extension-cls); called through /collective_rpc when weights are handed
    over as files."""

    model_runner: Any
    reload_weights: Callable[..., None]  # the worker's, inside vLLM's configuration

    def load_weights_from(self, folder: str) -> None:
        """Replaces the weights by those of the safetensors files in `folder`."""
        self.reload_weights(weights_path=folder)
        repack_tied_head(self.model_runner.get_model())
