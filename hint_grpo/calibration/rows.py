"""What the vLLM logits processors do with a batch of logits, whichever of vLLM's two interfaces calls them.

Every request of the engine is one Branch. `plan_rows` says which rows of a batch belong together, `choose_rows` makes
the token that vLLM's greedy sampler will then pick the calibrated one, in both rows of a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from hint_grpo.calibration.formula import calibrated, penalised, suppressed

EXTRA_ARG = "hint_grpo_branch"
"""The key in SamplingParams.extra_args under which a request says which branch it is."""
CONFIG_KEY = "hint_grpo_rules"
"""The key in vLLM's additional_config under which the GreedyRules travel to the logits processor."""


@dataclass(frozen=True, slots=True)
class Branch:
    """`question` is the same for both requests of a pair; "alone" is a request without a partner (scale 0)."""

    question: str
    role: Literal["image", "text", "alone"]
    scale: float = 0.0

    def as_extra_args(self) -> dict[str, Any]:
        return {EXTRA_ARG: [self.question, self.role, self.scale]}

    @classmethod
    def of(cls, sampling_params: Any) -> "Branch | None":
        """None for a request that is not ours (vLLM's own warm-up)."""
        values = (sampling_params.extra_args or {}).get(EXTRA_ARG)
        return None if values is None else cls(*values)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Rows of a batch: image_rows[i] and text_rows[i] are a pair with scales[i]; lead_rows are those that are decided
    on their own history, the image rows first, then the rows without a partner."""

    image_rows: torch.Tensor
    text_rows: torch.Tensor
    scales_P1: torch.Tensor
    lead_rows: torch.Tensor


def plan_rows(branches: Sequence[Branch | None], device: torch.device) -> RowPlan:
    """`branches[row]`; a row whose partner is not in the batch is left out: its question fails the lockstep check."""
    text_row = {b.question: row for row, b in enumerate(branches) if b is not None and b.role == "text"}
    pairs = [
        (row, text_row[b.question], b.scale)
        for row, b in enumerate(branches)
        if b is not None and b.role == "image" and b.question in text_row
    ]
    alone = [row for row, b in enumerate(branches) if b is not None and b.role == "alone"]
    image_rows = [image for image, _, _ in pairs]

    def index(rows: list[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long).to(device, non_blocking=True)

    scales = torch.tensor([scale for _, _, scale in pairs], dtype=torch.float32).view(-1, 1)
    return RowPlan(
        index(image_rows),
        index([text for _, text, _ in pairs]),
        scales.to(device, non_blocking=True),
        index(image_rows + alone),
    )


def choose_rows(
    logits_RV: torch.Tensor,
    plan: RowPlan,
    penalty: float,
    seen_lead_BV: torch.Tensor | None,
    suppressed_ids: torch.Tensor,
) -> torch.Tensor:
    """Writes calibrated, penalised, suppressed logits into the rows of `plan`, in place. `seen_lead_BV` marks the
    tokens that stand in the history of each lead row; None where there is no repetition penalty."""
    num_pairs = len(plan.image_rows)
    lead_BV = logits_RV[plan.lead_rows]
    if num_pairs:
        lead_BV[:num_pairs] = calibrated(lead_BV[:num_pairs], logits_RV[plan.text_rows], plan.scales_P1)
    if seen_lead_BV is not None:
        lead_BV = penalised(lead_BV, seen_lead_BV, penalty)
    suppressed(lead_BV, suppressed_ids)
    logits_RV[plan.lead_rows] = lead_BV
    if num_pairs:
        logits_RV[plan.text_rows] = lead_BV[:num_pairs]
    return logits_RV
