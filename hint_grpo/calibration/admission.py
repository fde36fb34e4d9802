"""When a question may enter the vLLM engine: only if all of its requests fit completely. Pure Python, no vLLM.

vLLM schedules requests, not pairs. With an odd number of slots (max_num_seqs), a token budget smaller than what is waiting, or a
full cache it runs one request of a pair and delays or preempts the other, and the two fall out of step. So a question enters
the engine only if vLLM can have no reason to do that:

    slots     running rows + its rows                                             <= max_num_seqs
    tokens    running rows + prompt tokens of all questions admitted this step    <= max_num_batched_tokens
    cache     blocks at full length of all running questions                      <= blocks of the cache

A running row uses one token of the budget per step. "At full length" is prompt + max_new_tokens: a question that was
admitted finishes without a preemption. `Lockstep` verifies the result at every step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

# ----------------------------------------------------------------------------------------------------
# Admission: does a question fit?


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one engine can hold; read from the engine after it has started (`vllm_engine.capacity_of`)."""

    max_num_seqs: int
    max_num_batched_tokens: int
    num_blocks: int
    block_size: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What one question needs: a row per request, the tokens of its prompts, and cache blocks at full length."""

    rows: int
    prompt_tokens: int
    blocks: int


def demand(prompt_lengths: Sequence[int], max_new_tokens: int, block_size: int) -> Demand:
    """The demand of a question with one prompt length (tokens, the picture's included) per request."""
    blocks = sum(-(-(length + max_new_tokens) // block_size) for length in prompt_lengths)
    return Demand(len(prompt_lengths), sum(prompt_lengths), blocks)


@dataclass(slots=True)
class Admission:
    """Counts what is in the engine.

    `start_step` is called before every engine step, `admit` after `fits`, `release` when a question leaves the engine.
    """

    capacity: Capacity
    rows: int = 0
    blocks: int = 0
    _running_rows: int = field(default=0, init=False)  # rows that were in the engine before this step's admissions
    _new_tokens: int = field(default=0, init=False)

    def start_step(self) -> None:
        self._running_rows, self._new_tokens = self.rows, 0

    def fits(self, needed: Demand) -> bool:
        """Whether the question can enter in this step (the three conditions at the top of this module)."""
        tokens = self._running_rows + self._new_tokens + needed.prompt_tokens
        return (
            self.rows + needed.rows <= self.capacity.max_num_seqs
            and tokens <= self.capacity.max_num_batched_tokens
            and self.blocks + needed.blocks <= self.capacity.num_blocks
        )

    def admit(self, needed: Demand) -> None:
        self.rows += needed.rows
        self.blocks += needed.blocks
        self._new_tokens += needed.prompt_tokens

    def release(self, held: Demand) -> None:
        self.rows -= held.rows
        self.blocks -= held.blocks


# ----------------------------------------------------------------------------------------------------
# Lockstep: do the requests of one question receive the same token in the same step?
#
# If not, the answer is worthless: a row that was sampled without its partner was sampled from logits that are not
# calibrated. Comparing the final tokens is not enough: both rows may be sampled alone, one step after the other, and agree.


class Lockstep:
    """The tokens of one question's requests (one or two), step by step."""

    def __init__(self, num_requests: int) -> None:
        self.token_ids: list[int] = []
        self.finished = False
        self._step: list[tuple[tuple[int, ...], bool]] = []  # (new tokens, finished) of each request, this step
        self._num_requests = num_requests

    def receive(self, new_token_ids: Sequence[int], finished: bool) -> None:
        """Records what one of the requests produced in the current step."""
        self._step.append((tuple(new_token_ids), finished))

    def end_step(self) -> bool:
        """Appends the step's tokens; False if the requests received different ones, or some of them none."""
        step, self._step = self._step, []
        if not step:
            return True
        if len(step) != self._num_requests or len(set(step)) != 1:
            return False
        (token_ids, self.finished), *_ = step
        self.token_ids.extend(token_ids)
        return True
