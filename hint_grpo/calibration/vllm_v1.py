"""The logits processor for vLLM's V1 model runner (CPU, and CUDA before Model Runner V2 became its default).

Custom processors run on float32 logits before vLLM's own penalties. Those stay off; the penalty is applied here, on the
calibrated logits, so that both of vLLM's interfaces and transformers compute the same.

Shape letters: R rows of the batch, B lead rows (see RowPlan), S slots of the history table, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor

from hint_grpo.calibration.prompting import GreedyRules
from hint_grpo.calibration.rows import CONFIG_KEY, Branch, RowPlan, plan_rows, write_logits


@dataclass(slots=True, eq=False)
class _Request:
    """A row of vLLM's persistent batch.

    `output_ids` is vLLM's own list, which grows. `slot` is the request's row in the table of seen tokens, None until it is
    assigned; `num_marked` of its output tokens are in the table.
    """

    branch: Branch
    prompt_ids: list[int]
    output_ids: list[int]
    slot: int | None = None
    num_marked: int = 0


class PairedLogitsV1(LogitsProcessor):
    """Tracks the rows that vLLM reports as added, removed and moved, and rewrites their logits (`write_logits`)."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.rules = GreedyRules.from_dict(vllm_config.additional_config[CONFIG_KEY])
        self.device = device
        self.suppressed_ids = self._index(list(self.rules.suppressed_ids))
        self.requests: dict[int, _Request] = {}  # by row
        self.plan: RowPlan | None = None  # None: the rows have changed
        self.lead: list[_Request] = []
        self.lead_slots = torch.zeros(0, dtype=torch.long, device=device)
        self.seen_SV: torch.Tensor | None = None  # True: the token is in the history of the slot's lead row
        if self.rules.repetition_penalty != 1.0:
            shape = (vllm_config.scheduler_config.max_num_seqs, vllm_config.model_config.get_vocab_size())
            self.seen_SV = torch.zeros(shape, dtype=torch.bool, device=device)

    def is_argmax_invariant(self) -> bool:
        """False: this processor changes which token is the largest, so vLLM must not skip it for greedy sampling."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Called by vLLM before every step with the changes of the batch, None if there are none."""
        if process_dict_updates(self.requests, batch_update, _new_request):
            self.plan = None

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """(R, V) raw logits -> (R, V) logits for the greedy sampler."""
        if not self.requests:
            return logits
        if self.plan is None:
            self.plan = self._replan()
        seen_lead_BV = None
        if self.seen_SV is not None:
            self._mark_new_tokens(self.seen_SV)
            seen_lead_BV = self.seen_SV[self.lead_slots]
        return write_logits(logits, self.plan, self.rules.repetition_penalty, seen_lead_BV, self.suppressed_ids)

    def _replan(self) -> RowPlan:
        rows = [self.requests.get(row) for row in range(max(self.requests) + 1)]
        plan = plan_rows([None if request is None else request.branch for request in rows], self.device)
        self.lead = [self.requests[row] for row in plan.lead_rows_B.tolist()]
        if self.seen_SV is not None:
            self._assign_slots(self.seen_SV)
        return plan

    def _assign_slots(self, seen_SV: torch.Tensor) -> None:
        """Assigns a slot to every lead row without one; the slots of requests that have left are free again."""
        taken = {request.slot for request in self.requests.values()}
        free = [slot for slot in range(len(seen_SV)) if slot not in taken]
        for request in self.lead:
            if request.slot is None:
                request.slot = free.pop()
                seen_SV[request.slot] = False
                seen_SV[request.slot, self._index(request.prompt_ids)] = True
        self.lead_slots = self._index([request.slot for request in self.lead if request.slot is not None])

    def _mark_new_tokens(self, seen_SV: torch.Tensor) -> None:
        """Adds the output tokens since the last step to the history, in one indexed write."""
        slots: list[int] = []
        token_ids: list[int] = []
        for request in self.lead:
            assert request.slot is not None
            new_ids = request.output_ids[request.num_marked :]
            request.num_marked += len(new_ids)
            slots.extend([request.slot] * len(new_ids))
            token_ids.extend(new_ids)
        seen_SV[self._index(slots), self._index(token_ids)] = True

    def _index(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _new_request(sampling_params: Any, prompt_ids: list[int] | None, output_ids: list[int]) -> _Request | None:
    branch = Branch.of(sampling_params)
    return None if branch is None else _Request(branch, list(prompt_ids or ()), output_ids)
