"""The fast backend: calibration inside vLLM, with continuous batching and no model code changed.

A question is two requests, with and without its picture, in the same batch of every engine step; a logits processor
writes the calibrated logits into both rows (hint_grpo.calibration.rows), so that greedy sampling picks the same token
in both. At scale 0 it is one request, and costs what plain vLLM costs. The engine is stepped by hand
(hint_grpo.calibration.vllm).
"""

import hint_grpo.machine.stack  # noqa: F401
from hint_grpo.machine.stack import HAS_CUDA

import gc
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from vllm import LLMEngine, SamplingParams
from vllm.sampling_params import RequestOutputKind

from hint_grpo.calibration.admission import Admission, Capacity, Demand, Lockstep, demand
from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.prompting import EncodedQuestion, QuestionEncoder
from hint_grpo.calibration.rows import Branch
from hint_grpo.calibration.rules import GreedyRules
from hint_grpo.calibration.vllm_engine import capacity_of
from hint_grpo.machine.errors import UserError

# ----------------------------------------------------------------------------------------------------
# One call of the vLLM path's `decode`: questions into the engine, steps, and what comes out of them.
#
# Questions enter by the rule of hint_grpo.calibration.admission, which keeps pairs in step. Every step is checked all the
# same (hint_grpo.calibration.admission): a pair out of step is thrown away and decoded again, on its own.

_serial = itertools.count()


@dataclass(slots=True, eq=False)
class _Candidate:
    """A question on its way into the engine. `retry`: it fell out of step before, and goes in alone."""

    question: EncodedQuestion
    image: Image | None
    wanted: Demand
    retry: bool = False


@dataclass(slots=True, eq=False)
class _Flight:
    """A question in the engine."""

    candidate: _Candidate
    request_ids: list[str]
    lockstep: Lockstep


@dataclass(frozen=True, slots=True)
class Station:
    """What every call of `decode` works with."""

    engine: LLMEngine
    encoder: QuestionEncoder
    rules: GreedyRules
    capacity: Capacity
    max_new_tokens: int


class Run:
    """One call of `decode`: the questions still waiting, those in the engine, and those to be decoded again."""

    def __init__(self, station: Station, requests: Sequence[DecodeRequest], scale: float) -> None:
        self.station, self.engine, self.scale = station, station.engine, scale
        self.num_redecoded = 0
        self.waiting = deque(requests)
        self.retries: deque[_Candidate] = deque()
        self.head: _Candidate | None = None  # encoded, and waits for its place
        self.flights: dict[str, _Flight] = {}  # by request id
        self.admission = Admission(station.capacity)

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.retries or self.head or self.flights)

    def admit(self) -> None:
        """Hands questions to the engine as long as the next one fits whole."""
        self.admission.start_step()
        while self._take_head() and self.head is not None:
            if not self.admission.fits(self.head.wanted):
                if not self.flights:
                    raise UserError(_never_fits(self.head, self.station.capacity))
                return
            self._submit(self.head)
            self.head = None

    def step(self) -> Iterator[Completion]:
        """One engine step; yields the questions that it finished."""
        touched: dict[str, _Flight] = {}
        outputs: list[Any] = self.engine.step()
        for output in outputs:
            flight = self.flights[output.request_id]
            flight.lockstep.receive(output.outputs[0].token_ids, output.finished)
            touched[flight.request_ids[0]] = flight
        for flight in touched.values():
            if not flight.lockstep.end_step():
                self._throw_out(flight)
            elif flight.lockstep.finished:
                self._forget(flight)
                yield self._completion(flight)

    def abort_all(self) -> None:
        if self.flights:
            self.engine.abort_request(list(self.flights))
            self.flights.clear()

    def _take_head(self) -> bool:
        """Whether there is a question that may go in next. One that fell out of step goes in when nothing else is
        left, and nothing goes in beside it."""
        if self.head is None and self.waiting:
            question, image = self.station.encoder.encode(self.waiting.popleft(), self.scale)
            lengths, block_size = question.prompt_lengths, self.station.capacity.block_size
            self.head = _Candidate(question, image, demand(lengths, self.station.max_new_tokens, block_size))
        elif self.head is None and self.retries and not self.flights:
            self.head = self.retries.popleft()
        return self.head is not None

    def _submit(self, candidate: _Candidate) -> None:
        question, key = candidate.question, new_request_id("question")
        if question.text_ids is None:
            branches = [Branch(key, "alone")]
        else:
            branches = [Branch(key, "image", self.scale), Branch(key, "text", self.scale)]
        request_ids = [new_request_id(branch.role) for branch in branches]
        flight = _Flight(candidate, request_ids, Lockstep(len(branches)))
        prompts = [_prompt(question.prompt_ids, question, candidate.image)]
        if question.text_ids is not None:
            prompts.append(_prompt(question.text_ids, question, None))
        for request_id, prompt, branch in zip(request_ids, prompts, branches, strict=True):
            self.engine.add_request(request_id, prompt, self._sampling(branch))
            self.flights[request_id] = flight
        self.admission.admit(candidate.wanted)

    def _sampling(self, branch: Branch) -> SamplingParams:
        return SamplingParams(
            temperature=0.0,
            max_tokens=self.station.max_new_tokens,
            ignore_eos=True,  # the end tokens are those of GreedyRules, on every backend
            stop_token_ids=list(self.station.rules.eos_ids),
            detokenize=False,
            # A pair is watched step by step; a request of its own need not be.
            output_kind=RequestOutputKind.FINAL_ONLY if branch.role == "alone" else RequestOutputKind.DELTA,
            extra_args=branch.as_extra_args(),
        )

    def _throw_out(self, flight: _Flight) -> None:
        """A pair out of step: its tokens are worthless."""
        candidate = flight.candidate
        self.engine.abort_request(flight.request_ids)
        self._forget(flight)
        if candidate.retry:
            raise RuntimeError(
                f"question {candidate.question.request.id} fell out of step while it was alone in the engine: "
                "its two requests do not get the same logits from the logits processor"
            )
        self.num_redecoded += 1
        self.retries.append(_Candidate(candidate.question, candidate.image, candidate.wanted, retry=True))

    def _forget(self, flight: _Flight) -> None:
        self.admission.release(flight.candidate.wanted)
        for request_id in flight.request_ids:
            del self.flights[request_id]

    def _completion(self, flight: _Flight) -> Completion:
        token_ids = tuple(flight.lockstep.token_ids)
        text = self.station.encoder.completion_text(token_ids)
        reason = self.station.rules.finish_reason(token_ids)
        return Completion(flight.candidate.question.request.id, text, token_ids, reason)


def new_request_id(role: str) -> str:
    """Unique in the process: a question is asked at several scales, and again after falling out of step."""
    return f"{next(_serial)}-{role}"


def _prompt(token_ids: list[int], question: EncodedQuestion, image: Image | None) -> Any:
    if image is None:
        return {"prompt_token_ids": token_ids}
    return {
        "prompt_token_ids": token_ids,
        "multi_modal_data": {"image": image},
        "multi_modal_uuids": {"image": [picture_uuid(question.request)]},
    }


def picture_uuid(request: DecodeRequest) -> str:
    """A name under which vLLM finds the processed and the encoded picture again, at the next scale."""
    assert request.image is not None
    status = os.stat(request.image)
    return f"{request.image}:{status.st_size}:{status.st_mtime_ns}"


def _never_fits(candidate: _Candidate, capacity: Capacity) -> str:
    wanted = candidate.wanted
    return (
        f"question {candidate.question.request.id} does not fit into vLLM even alone: it needs {wanted.rows} rows, "
        f"{wanted.prompt_tokens} prompt tokens and {wanted.blocks} cache blocks of {capacity.block_size} tokens, and "
        f"there are {capacity.max_num_seqs}, {capacity.max_num_batched_tokens} and {capacity.num_blocks}: lower "
        "--max_pixels or --max_new_tokens, or give vLLM more memory"
    )


class VllmDecoder:
    """A `Decoder` over an in-process vLLM engine."""

    def __init__(self, engine: LLMEngine, encoder: QuestionEncoder, rules: GreedyRules, *, max_new_tokens: int) -> None:
        self.engine, self.encoder, self.rules, self.max_new_tokens = engine, encoder, rules, max_new_tokens
        self.capacity = capacity_of(engine)
        # The engine's context is chosen for the largest picture, and may be shorter than the model's.
        encoder.context_length = min(encoder.context_length, engine.vllm_config.model_config.max_model_len)
        self.num_redecoded = 0  # questions decoded again because their pair fell out of step

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        run = Run(Station(self.engine, self.encoder, self.rules, self.capacity, self.max_new_tokens), requests, scale)
        try:
            while run.has_work:
                run.admit()
                yield from run.step()
        finally:  # also when the caller stops listening
            run.abort_all()
            self.num_redecoded += run.num_redecoded

    def close(self) -> None:
        """Gives the memory back. vLLM takes its process groups down with the engine: close one before loading the next."""
        self.engine.engine_core.shutdown()
        del self.engine
        gc.collect()
        if HAS_CUDA:
            torch.cuda.empty_cache()
