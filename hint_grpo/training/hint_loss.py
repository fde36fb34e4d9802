"""A supervised term on the hint's tokens, as in UFT (arXiv 2505.16984): --hint_loss_weight w adds w times their mean NLL.

    loss = GRPO's + w * (- mean of log pi(hint token | what stands before it))

The mean is over all hint tokens of a micro-batch; a batch without hints adds nothing. Hint tokens stay out of the policy
gradient, the KL term and the rewards, so a negative advantage never pushes the model away from a correct reasoning. The
probabilities are those that GRPO's loss uses, at the sampling temperature (UFT: at temperature 1).
"""

from collections.abc import Sequence

import torch

from hint_grpo.rollout.escalation import Group


def hint_mask(groups: Sequence[Group], width: int) -> torch.Tensor:
    """(B * G, width): 1 on the hint's tokens. They end the begun turn, with which TRL's completion begins; `<think>` is 0."""
    rows = []
    for group in groups:
        begun = len(group.turn.begun_ids)
        given = min(group.turn.hint_tokens, begun)
        rows += [[0.0] * (begun - given) + [1.0] * given + [0.0] * (width - begun)] * len(group.completions)
    return torch.tensor(rows)


def hint_nll(logps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean negative log-likelihood of the tokens with mask 1; NaN, without a gradient, if there are none. Both (B * G, T)."""
    if not mask.any():
        return torch.tensor(torch.nan, device=logps.device)
    return -(logps * mask).sum() / mask.sum()
