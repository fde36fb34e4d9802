"""Text-bias calibration (paper section 3.3) as pure tensor functions: the only place with the formula, used by every backend.

    calibrated = c + s * (c - t)        c: logits given picture and text, t: logits given the text alone, s: the scale

on raw float32 logits, before any logits processor. A token is chosen in this order, on every backend:

    raw logits -> calibrated -> repetition penalty -> suppressed tokens -> argmax

Shape letters: B rows (questions), V vocabulary.
"""

import torch


def calibrated(with_image_BV: torch.Tensor, text_only_BV: torch.Tensor, scale: float | torch.Tensor) -> torch.Tensor:
    """c + s * (c - t) (paper section 3.3): (B, V) and (B, V) -> (B, V).

    `scale` is one number, or one per row as (B, 1). Computed and returned in float32.
    """
    with_image_BV, text_only_BV = with_image_BV.float(), text_only_BV.float()
    return with_image_BV + scale * (with_image_BV - text_only_BV)


def penalised(logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty: float) -> torch.Tensor:
    """The repetition penalty: divides the logit of a token seen in prompt or completion by `penalty`; multiplies a negative one.

    The same operations as transformers' RepetitionPenaltyLogitsProcessor, with the history as a (B, V) mask. vLLM's own
    multiplies by 1 / penalty on CUDA, which rounds differently.
    """
    return torch.where(seen_BV, torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty), logits_BV)


def suppressed(logits_BV: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Sets the logits of the given tokens to -inf, in place, so that they are never chosen."""
    return logits_BV.index_fill_(1, token_ids, float("-inf"))
