"""Whether the requests of one question keep in step. Pure, no vLLM.

Both requests of a pair are sampled in the same engine step and get the same token, every step, or the answer is
worthless: a row that was sampled alone was sampled from logits that are not calibrated. Comparing final tokens would
not do: both may be sampled alone, one step after the other, and agree.
"""

from collections.abc import Sequence


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
