"""Text-bias calibration as pure tensor functions: the one place with the formula, used by every backend.

    calibrated = c + s * (c - t)        c: logits given picture and text, t: logits given the text alone, s: the scale

on raw float32 logits, before any logits processor (paper section 3.3). The order in which a token is chosen is

    raw logits -> calibrated -> repetition penalty -> suppressed tokens -> argmax

and is the same everywhere. Letters: B rows (questions), V vocabulary.
"""

import torch


def calibrated(with_image_BV: torch.Tensor, text_only_BV: torch.Tensor, scale: float | torch.Tensor) -> torch.Tensor:
    """c + s * (c - t); `scale` is one number, or one per row as (B, 1). Computed, and returned, in float32."""
    with_image_BV, text_only_BV = with_image_BV.float(), text_only_BV.float()
    return with_image_BV + scale * (with_image_BV - text_only_BV)


def penalised(logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty: float) -> torch.Tensor:
    """The repetition penalty: the logit of a token seen in prompt or completion is divided by `penalty`, or multiplied
    where it is negative. Operation for operation what transformers' RepetitionPenaltyLogitsProcessor computes, with the
    history as a mask (vLLM's own multiplies by 1 / penalty on CUDA, which rounds differently)."""
    return torch.where(seen_BV, torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty), logits_BV)


def suppressed(logits_BV: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """`logits_BV` with the given tokens made impossible, in place."""
    return logits_BV.index_fill_(1, token_ids, float("-inf"))
