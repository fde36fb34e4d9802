"""The logits processor for vLLM's Model Runner V2 (the default on CUDA from vLLM 0.31).

There custom processors run after vLLM's own bias and penalties; those stay switched off, so that what arrives are raw
logits, in float32, and the penalty is applied here, on the calibrated ones.

State is kept per request slot. Slots are recycled, rows are reordered every step, and the tokens live on the device: a
request's history is marked from the token that each row is fed, so nothing has to be read back.
"""

from typing import Any

import numpy as np
import torch
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext, LogitsProcessor, LogitsProcRequestState

from hint_grpo.calibration.rows import CONFIG_KEY, Branch, RowPlan, choose_rows, plan_rows
from hint_grpo.calibration.rules import GreedyRules


class PairedLogitsV2(LogitsProcessor):
    """Chooses the tokens of the requests that say which branch they are (`choose_rows`)."""

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        self.rules = GreedyRules.from_dict(vllm_config.additional_config[CONFIG_KEY])
        self.states = req_states
        self.suppressed_ids = torch.tensor(self.rules.suppressed_ids, dtype=torch.long, device=req_states.device)
        self.branches: list[Branch | None] = [None] * req_states.max_num_reqs  # by slot
        self.new_slots: list[int] = []
        self.plan: tuple[tuple[int, ...], RowPlan] | None = None
        self.seen_SV: torch.Tensor | None = None
        if self.rules.repetition_penalty != 1.0:
            shape = (req_states.max_num_reqs, req_states.vocab_size)
            self.seen_SV = torch.zeros(shape, dtype=torch.bool, device=req_states.device)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        self.branches[req_idx] = Branch.of(sampling_params)
        self.plan = None
        if self.branches[req_idx] is None:
            return False
        self.new_slots.append(req_idx)
        return True

    def apply_staged_writes(self) -> None:
        """Fills the history of new requests: prompt, and output so far of one that was thrown out and comes back."""
        slots, self.new_slots = self.new_slots, []
        if self.seen_SV is None:
            return
        for slot in slots:
            length = int(self.states.prefill_len.np[slot])
            self.seen_SV[slot] = False
            self.seen_SV[slot].index_fill_(0, self.states.all_token_ids.gpu[slot, :length].long(), True)

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        plan = self._plan(ctx.idx_mapping_np)
        slots_R = ctx.expanded_idx_mapping.long()
        seen_lead_BV = None
        if self.seen_SV is not None:
            self.seen_SV[slots_R, ctx.input_ids.long()] = True
            seen_lead_BV = self.seen_SV[slots_R[plan.lead_rows]]
        return choose_rows(logits, plan, self.rules.repetition_penalty, seen_lead_BV, self.suppressed_ids)

    def _plan(self, slots_R: np.ndarray) -> RowPlan:
        """Without speculative decoding a row is a request; planned anew only when the rows' order has changed."""
        key = tuple(slots_R.tolist())
        if self.plan is None or self.plan[0] != key:
            self.plan = key, plan_rows([self.branches[slot] for slot in key], self.states.device)
        return self.plan[1]
