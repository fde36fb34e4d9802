"""When a question may enter the vLLM engine: only when all of its requests fit whole. Pure, no vLLM.

vLLM schedules requests, not pairs. With an odd number of slots (max_num_seqs), a token budget smaller than what is waiting, or a
full cache it runs one request of a pair and holds back or throws out the other, and the two fall out of step. So a
question is handed to the engine only when vLLM can have no reason to do that:

    slots     rows in flight + its rows                                             <= max_num_seqs
    tokens    rows in flight + prompt tokens of all questions admitted this step    <= max_num_batched_tokens
    cache     blocks at full length of all questions in flight                      <= blocks of the cache

A running row takes one token of the budget per step. "At full length" is prompt + max_new_tokens: what is admitted can
run to its end without a preemption.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

# ----------------------------------------------------------------------------------------------------
# Whether the requests of one question keep in step. Pure, no vLLM.
#
# Both requests of a pair are sampled in the same engine step and get the same token, every step, or the answer is
# worthless: a row that was sampled alone was sampled from logits that are not calibrated. Comparing final tokens would
# not do: both may be sampled alone, one step after the other, and agree.


class Lockstep:
    """The tokens of one question's requests (one or two), step by step."""

    def __init__(self, num_requests: int) -> None:
        self.token_ids: list[int] = []
        self.finished = False
        self._step: list[tuple[tuple[int, ...], bool]] = []
        self._num_requests = num_requests

    def receive(self, new_token_ids: Sequence[int], finished: bool) -> None:
        """What one of the requests got in the current step."""
        self._step.append((tuple(new_token_ids), finished))

    def end_step(self) -> bool:
        """Takes over the step's tokens; False when the requests got different ones, or not all of them got any."""
        step, self._step = self._step, []
        if not step:
            return True
        if len(step) != self._num_requests or len(set(step)) != 1:
            return False
        (token_ids, self.finished), *_ = step
        self.token_ids.extend(token_ids)
        return True


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one engine can hold, as it says itself once it is up."""

    max_num_seqs: int
    max_num_batched_tokens: int
    num_blocks: int
    block_size: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What one question asks for: a row per request, its prompts' tokens, and cache blocks at full length."""

    rows: int
    prompt_tokens: int
    blocks: int


def demand(prompt_lengths: Sequence[int], max_new_tokens: int, block_size: int) -> Demand:
    blocks = sum(-(-(length + max_new_tokens) // block_size) for length in prompt_lengths)
    return Demand(len(prompt_lengths), sum(prompt_lengths), blocks)


@dataclass(slots=True)
class Admission:
    """Counts what is in flight. `start_step` is called before every engine step, `admit` after `fits`, `release` when a
    question leaves the engine."""

    capacity: Capacity
    rows: int = 0
    blocks: int = 0
    _running_rows: int = field(default=0, init=False)  # rows that were in flight before this step's admissions
    _new_tokens: int = field(default=0, init=False)

    def start_step(self) -> None:
        self._running_rows, self._new_tokens = self.rows, 0

    def fits(self, wanted: Demand) -> bool:
        tokens = self._running_rows + self._new_tokens + wanted.prompt_tokens
        return (
            self.rows + wanted.rows <= self.capacity.max_num_seqs
            and tokens <= self.capacity.max_num_batched_tokens
            and self.blocks + wanted.blocks <= self.capacity.num_blocks
        )

    def admit(self, wanted: Demand) -> None:
        self.rows += wanted.rows
        self.blocks += wanted.blocks
        self._new_tokens += wanted.prompt_tokens

    def release(self, held: Demand) -> None:
        self.rows -= held.rows
        self.blocks -= held.blocks
