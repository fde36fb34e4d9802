"""What the vLLM logits processors do with a batch of logits; shared by vLLM's two interfaces (vllm_v1, vllm_v2).

Every request in the engine is one Branch. `plan_rows` finds the rows of a batch that belong together; `write_logits` replaces
their logits by the calibrated ones, so that vLLM's greedy sampler picks the same, calibrated token in both rows of a pair.

Shape letters: R rows of the batch, P pairs, B rows whose token is decided (P pairs, then rows without a partner),
V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from hint_grpo.calibration.formula import calibrated, penalised, suppressed

EXTRA_ARG = "hint_grpo_branch"
"""The key in SamplingParams.extra_args that identifies a request's branch."""
CONFIG_KEY = "hint_grpo_rules"
"""The key in vLLM's additional_config that carries the GreedyRules to the logits processor."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Which part of a question a request is. `question` is the same key for both requests of a pair; the role "alone" is a
    request without a partner (scale 0)."""

    question: str
    role: Literal["image", "text", "alone"]
    scale: float = 0.0

    def as_extra_args(self) -> dict[str, Any]:
        """The request's entry in SamplingParams.extra_args."""
        return {EXTRA_ARG: [self.question, self.role, self.scale]}

    @classmethod
    def of(cls, sampling_params: Any) -> "Branch | None":
        """The branch of a request; None for a request that is not ours (vLLM's warm-up)."""
        values = (sampling_params.extra_args or {}).get(EXTRA_ARG)
        return None if values is None else cls(*values)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Row indices of a batch: image_rows_P[i] and text_rows_P[i] are a pair with scales_P1[i].

    lead_rows_B are the rows whose token is decided, on their own history: the image rows first, then the rows without a
    partner. A text row follows its image row.
    """

    image_rows_P: torch.Tensor
    text_rows_P: torch.Tensor
    scales_P1: torch.Tensor
    lead_rows_B: torch.Tensor


def plan_rows(branches: Sequence[Branch | None], device: torch.device) -> RowPlan:
    """The plan of a batch from the branch of each row, None for a row that is not ours.

    A row whose partner is not in the batch is left out; its question then fails the lockstep check.
    """
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


def write_logits(
    logits_RV: torch.Tensor,
    plan: RowPlan,
    penalty: float,
    seen_lead_BV: torch.Tensor | None,
    suppressed_ids: torch.Tensor,
) -> torch.Tensor:
    """Writes calibrated, penalised, suppressed logits into the rows of `plan`, in place, and returns `logits_RV`.

    `seen_lead_BV` marks the tokens in the history of each lead row; None if there is no repetition penalty. The order of the
    three operations is that of hint_grpo.calibration.formula.
    """
    num_pairs = len(plan.image_rows_P)
    lead_BV = logits_RV[plan.lead_rows_B]
    if num_pairs:
        lead_BV[:num_pairs] = calibrated(lead_BV[:num_pairs], logits_RV[plan.text_rows_P], plan.scales_P1)
    if seen_lead_BV is not None:
        lead_BV = penalised(lead_BV, seen_lead_BV, penalty)
    suppressed(lead_BV, suppressed_ids)
    logits_RV[plan.lead_rows_B] = lead_BV
    if num_pairs:  # the text rows get the same logits, so that greedy sampling picks the same token
        logits_RV[plan.text_rows_P] = lead_BV[:num_pairs]
    return logits_RV
