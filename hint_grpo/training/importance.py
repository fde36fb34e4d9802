"""The correction of vLLM's rounding, made from the loss's own forward pass: importance weights, and the gap between both.

vLLM and the trainer give a sampled token slightly different probabilities. TRL therefore weights the loss by (Yao et al. 2025)

    w = min(exp(logp - logp_sampler), cap)          by token, or with the sums over a completion; masks set w to 0 instead

where logp is the policy's when it sampled. TRL runs a separate forward pass for it. If the weights do not change between
sampling and the loss, the loss's forward pass gives the same numbers, and that pass can be left out (as TRL does without vLLM).

Shapes: (B, T), completions by tokens. `mask` is 1 on sampled tokens. vLLM's log-probability is NaN where it reports none.
"""

import hint_grpo.machine.stack  # noqa: F401

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

GAP = "sampling/sampling_logp_difference"
RATIO = "sampling/importance_sampling_ratio"


class Settings(Protocol):
    """TRL's flags of the correction: token_truncate, token_mask, sequence_truncate or sequence_mask, and its bounds."""

    vllm_importance_sampling_mode: str
    vllm_importance_sampling_clip_min: float | None
    vllm_importance_sampling_clip_max: float | None


def importance_weights(logps: Tensor, sampler_logps: Tensor, mask: Tensor, settings: Settings) -> Tensor:
    """(B, T), or (B, 1) in the sequence modes; the numbers that TRL computes when it samples."""
    difference = ((logps - sampler_logps) * mask).nan_to_num(nan=0.0)
    mode = settings.vllm_importance_sampling_mode
    if mode.startswith("sequence"):
        difference = difference.sum(dim=-1, keepdim=True)
    low, high = settings.vllm_importance_sampling_clip_min, settings.vllm_importance_sampling_clip_max
    weights = difference.exp()
    if mode.endswith("truncate"):
        return weights.clamp(min=low, max=high)
    outside = (weights < (-math.inf if low is None else low)) | (weights > (math.inf if high is None else high))
    return weights.masked_fill(outside, 0.0)


@dataclass(slots=True)
class Agreement:
    """Collects |logp - logp_sampler| and the weights of the micro-batches of one sampled batch, for TRL's metrics of them."""

    gaps: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def add(self, logps: Tensor, sampler_logps: Tensor, mask: Tensor, weights: Tensor) -> None:
        gaps = (logps - sampler_logps).abs()
        self.gaps.append(gaps[mask.bool() & ~gaps.isnan()])
        self.weights.append(weights.flatten() if weights.size(1) == 1 else weights[mask.bool()])

    def metrics(self, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Of all ranks together (a collective operation), under TRL's names."""
        gaps, weights = torch.cat(self.gaps), torch.cat(self.weights)
        if not len(gaps):
            gaps = gaps.new_zeros(1)
        if not len(weights):
            weights = weights.new_zeros(1)
        stack = torch.stack([gaps.mean(), gaps.max(), weights.min(), weights.mean(), weights.max()])
        by_rank = gather(stack).view(-1, len(stack))
        return {
            f"{GAP}/mean": by_rank[:, 0].mean().item(),
            f"{GAP}/max": by_rank[:, 1].max().item(),
            f"{RATIO}/min": by_rank[:, 2].min().item(),
            f"{RATIO}/mean": by_rank[:, 3].mean().item(),
            f"{RATIO}/max": by_rank[:, 4].max().item(),
        }
