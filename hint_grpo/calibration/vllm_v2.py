"""The logits processor for vLLM's Model Runner V2 (the default on CUDA from vLLM 0.31).

Custom processors run after vLLM's own bias and penalties. Those stay off, so that raw float32 logits arrive, and the
penalty is applied here, on the calibrated logits.

State is kept per request slot. Slots are reused, rows are reordered every step, and the tokens are on the device: a request's
history is marked from the token that is fed to each row, so nothing has to be copied to the host.

Shape letters: R rows of the batch, B lead rows (see RowPlan), S request slots, V vocabulary.
"""

from typing import Any

import numpy as np
import torch
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext, LogitsProcessor, LogitsProcRequestState

from hint_grpo.calibration.prompting import GreedyRules
from hint_grpo.calibration.rows import CONFIG_KEY, Branch, RowPlan, plan_rows, write_logits


class PairedLogitsV2(LogitsProcessor):
    """Rewrites the logits of the requests that carry a Branch (`write_logits`)."""

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        self.rules = GreedyRules.from_dict(vllm_config.additional_config[CONFIG_KEY])
        self.states = req_states
        self.suppressed_ids = torch.tensor(self.rules.suppressed_ids, dtype=torch.long, device=req_states.device)
        self.branches: list[Branch | None] = [None] * req_states.max_num_reqs  # by slot
        self.new_slots: list[int] = []  # added since the last `apply_staged_writes`
        self.plan: tuple[tuple[int, ...], RowPlan] | None = None  # with the slots of the rows that it was made for
        self.seen_SV: torch.Tensor | None = None  # True: the token is in the history of the slot's request
        if self.rules.repetition_penalty != 1.0:
            shape = (req_states.max_num_reqs, req_states.vocab_size)
            self.seen_SV = torch.zeros(shape, dtype=torch.bool, device=req_states.device)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Called by vLLM for a new request in slot `req_idx`; True if this processor acts on it."""
        self.branches[req_idx] = Branch.of(sampling_params)
        self.plan = None
        if self.branches[req_idx] is None:
            return False
        self.new_slots.append(req_idx)
        return True

    def apply_staged_writes(self) -> None:
        """Fills the history of new requests: the prompt, and for a preempted request that returns also its output so far."""
        slots, self.new_slots = self.new_slots, []
        if self.seen_SV is None:
            return
        for slot in slots:
            length = int(self.states.prefill_len.np[slot])
            self.seen_SV[slot] = False
            self.seen_SV[slot].index_fill_(0, self.states.all_token_ids.gpu[slot, :length].long(), True)

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """(R, V) raw logits -> (R, V) logits for the greedy sampler."""
        plan = self._plan(ctx.idx_mapping_np)
        slots_R = ctx.expanded_idx_mapping.long()  # the slot of each row
        seen_lead_BV = None
        if self.seen_SV is not None:
            self.seen_SV[slots_R, ctx.input_ids.long()] = True
            seen_lead_BV = self.seen_SV[slots_R[plan.lead_rows_B]]
        return write_logits(logits, plan, self.rules.repetition_penalty, seen_lead_BV, self.suppressed_ids)

    def _plan(self, slots_R: np.ndarray) -> RowPlan:
        """The plan for rows in these slots, cached until their order changes. Without speculative decoding a row is a request."""
        key = tuple(slots_R.tolist())
        if self.plan is None or self.plan[0] != key:
            self.plan = key, plan_rows([self.branches[slot] for slot in key], self.states.device)
        return self.plan[1]
