"""The fast backend: calibration inside vLLM, with continuous batching and without changes to model code.

A question is two requests, with and without its picture, that are in the same batch at every engine step. A logits
processor writes the calibrated logits into both rows (hint_grpo.calibration.rows), so that greedy sampling picks the same
token in both. At scale 0 a question is one request, and costs what plain vLLM costs.

A thread prepares the next questions while the engine decodes (hint_grpo.calibration.ahead). A question whose turn has come is
waited for, even if the engine has other work: which questions share a step must not depend on how fast the thread is, because
in bfloat16 the rounding depends on it.

The engine is stepped here, by hand: questions enter by the rule of hint_grpo.calibration.admission, which keeps the two
requests of a pair in step. Every step is verified nevertheless: a pair that fell out of step is discarded and decoded
again, alone.
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
from hint_grpo.calibration.ahead import Ahead
from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.prompting import EncodedQuestion, GreedyRules, QuestionEncoder
from hint_grpo.calibration.rows import Branch
from hint_grpo.calibration.vllm_engine import capacity_of
from hint_grpo.machine.errors import UserError

# ----------------------------------------------------------------------------------------------------
# The decoder


class VllmDecoder:
    """A `Decoder` over an in-process vLLM engine."""

    def __init__(self, engine: LLMEngine, encoder: QuestionEncoder, rules: GreedyRules, *, max_new_tokens: int) -> None:
        self.engine, self.encoder, self.rules, self.max_new_tokens = engine, encoder, rules, max_new_tokens
        self.capacity = capacity_of(engine)
        # Whether vLLM's picture processor runs in the thread too. On a CPU it would compete with the engine for the cores.
        self.renders_ahead = HAS_CUDA
        # The engine's context is chosen for the largest picture, and may be shorter than the model's.
        encoder.context_length = min(encoder.context_length, engine.vllm_config.model_config.max_model_len)
        self.num_redecoded = 0  # questions decoded again because their pair fell out of step

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        """See `Decoder`. Raises UserError for a question that does not fit into the engine even alone."""
        call = DecodeCall(self, requests, scale)
        try:
            while call.has_work:
                call.admit()
                yield from call.step()
        finally:  # also if the caller stops iterating
            call.close()
            self.num_redecoded += call.num_redecoded

    def close(self) -> None:
        """Frees the memory. vLLM also shuts down its process groups with the engine: close one before loading the next."""
        self.engine.engine_core.shutdown()
        del self.engine
        gc.collect()
        if HAS_CUDA:
            torch.cuda.empty_cache()


# ----------------------------------------------------------------------------------------------------
# One call of `decode`: questions into the engine, engine steps, completions out of it

_serial = itertools.count()


@dataclass(slots=True, eq=False)
class _WaitingQuestion:
    """An encoded question that is not in the engine yet. `retry`: it fell out of step before, and is decoded alone.

    `prompts`: of its one or two requests, if the thread has run vLLM's picture processor on them.
    """

    question: EncodedQuestion
    image: Image | None
    demand: Demand
    prompts: list[Any] | None = None
    retry: bool = False


@dataclass(slots=True, eq=False)
class _RunningQuestion:
    """A question in the engine, with the ids of its one or two requests."""

    waiting: _WaitingQuestion
    request_ids: list[str]
    lockstep: Lockstep


class DecodeCall:
    """The state of one `decode`: questions that wait, questions in the engine, and questions to decode again."""

    def __init__(self, decoder: VllmDecoder, requests: Sequence[DecodeRequest], scale: float) -> None:
        self.decoder, self.engine, self.scale = decoder, decoder.engine, scale
        self.num_redecoded = 0
        self.num_waiting = len(requests)  # not taken from `ahead` yet
        self.ahead = Ahead(requests, self._prepare)
        self.retries: deque[_WaitingQuestion] = deque()
        self.next: _WaitingQuestion | None = None  # encoded, waits until it fits
        self.running: dict[str, _RunningQuestion] = {}  # by request id
        self.admission = Admission(decoder.capacity)

    @property
    def has_work(self) -> bool:
        return bool(self.num_waiting or self.retries or self.next or self.running)

    def admit(self) -> None:
        """Hands questions to the engine until the next one does not fit as a whole."""
        self.admission.start_step()
        while self._prepare_next() and self.next is not None:
            if not self.admission.fits(self.next.demand):
                if not self.running:
                    raise UserError(_never_fits(self.next, self.decoder.capacity))
                return
            self._submit(self.next)
            self.next = None

    def step(self) -> Iterator[Completion]:
        """Runs one engine step; yields the questions that it finished."""
        outputs: list[Any] = self.engine.step()
        # 1. Collect the new tokens of both requests of every question.
        stepped: dict[str, _RunningQuestion] = {}  # by first request id, so each question once
        for output in outputs:
            running = self.running[output.request_id]
            running.lockstep.receive(output.outputs[0].token_ids, output.finished)
            stepped[running.request_ids[0]] = running
        # 2. Both requests must have received the same tokens.
        for running in stepped.values():
            if not running.lockstep.end_step():
                self._discard_and_retry(running)
            elif running.lockstep.finished:
                self._release(running)
                yield self._completion(running)

    def close(self) -> None:
        """Ends the thread, and removes the questions of this call from the engine if there are any."""
        num_left = self.ahead.close()
        if self.running:
            self.engine.abort_request(list(self.running))
            self.running.clear()
        if self.decoder.renders_ahead and (num_left or self.num_waiting or self.next):
            # vLLM's record of the pictures that the engine has is wrong now: some were processed and never handed over.
            self.engine.reset_mm_cache()

    def _prepare(self, request: DecodeRequest) -> _WaitingQuestion:
        """Encodes a question and opens its picture; called in the thread."""
        question, image = self.decoder.encoder.encode(request, self.scale)
        needed = demand(question.prompt_lengths, self.decoder.max_new_tokens, self.decoder.capacity.block_size)
        waiting = _WaitingQuestion(question, image, needed)
        if self.decoder.renders_ahead:
            # In the order in which the questions enter the engine: vLLM's cache of processed pictures relies on it.
            waiting.prompts = self.engine.renderer.render_cmpl(_prompts(question, image))
        return waiting

    def _prepare_next(self) -> bool:
        """Sets `next` if it is empty; False if no question may enter now.

        A question that fell out of step enters when the engine is empty, and nothing enters beside it.
        """
        if self.next is None and self.num_waiting:
            self.next = next(self.ahead)
            self.num_waiting -= 1
        elif self.next is None and self.retries and not self.running:
            self.next = self.retries.popleft()
        return self.next is not None

    def _submit(self, waiting: _WaitingQuestion) -> None:
        """Adds the question's requests to the engine: the prompt with the picture first, then the text-only one."""
        question, key = waiting.question, new_request_id("question")
        prompts, waiting.prompts = waiting.prompts or _prompts(question, waiting.image), None
        if question.text_ids is None:
            branches = [Branch(key, "alone")]
        else:
            branches = [Branch(key, "image", self.scale), Branch(key, "text", self.scale)]
        request_ids = [new_request_id(branch.role) for branch in branches]
        running = _RunningQuestion(waiting, request_ids, Lockstep(len(branches)))
        for request_id, prompt, branch in zip(request_ids, prompts, branches, strict=True):
            self.engine.add_request(request_id, prompt, self._sampling(branch))
            self.running[request_id] = running
        self.admission.admit(waiting.demand)

    def _sampling(self, branch: Branch) -> SamplingParams:
        return SamplingParams(
            temperature=0.0,
            max_tokens=self.decoder.max_new_tokens,
            ignore_eos=True,  # the end tokens are those of GreedyRules, on every backend
            stop_token_ids=list(self.decoder.rules.eos_ids),
            detokenize=False,
            # The tokens of a pair are compared at every step; a request without a partner needs only its final output.
            output_kind=RequestOutputKind.FINAL_ONLY if branch.role == "alone" else RequestOutputKind.DELTA,
            extra_args=branch.as_extra_args(),
        )

    def _discard_and_retry(self, running: _RunningQuestion) -> None:
        """A pair out of step: its tokens do not come from calibrated logits. RuntimeError if it was alone already."""
        waiting = running.waiting
        self.engine.abort_request(running.request_ids)
        self._release(running)
        if waiting.retry:
            raise RuntimeError(
                f"question {waiting.question.request.id} fell out of step while it was alone in the engine: "
                "its two requests do not get the same logits from the logits processor"
            )
        self.num_redecoded += 1
        self.retries.append(_WaitingQuestion(waiting.question, waiting.image, waiting.demand, retry=True))

    def _release(self, running: _RunningQuestion) -> None:
        self.admission.release(running.waiting.demand)
        for request_id in running.request_ids:
            del self.running[request_id]

    def _completion(self, running: _RunningQuestion) -> Completion:
        token_ids = tuple(running.lockstep.token_ids)
        text = self.decoder.encoder.completion_text(token_ids)
        reason = self.decoder.rules.finish_reason(token_ids)
        return Completion(running.waiting.question.request.id, text, token_ids, reason)


# ----------------------------------------------------------------------------------------------------
# Requests as vLLM expects them


def new_request_id(role: str) -> str:
    """Unique in the process: a question is decoded at several scales, and again after falling out of step."""
    return f"{next(_serial)}-{role}"


def _prompts(question: EncodedQuestion, image: Image | None) -> list[Any]:
    """The prompt with the picture, then the text-only one if there is one."""
    prompts: list[dict[str, Any]] = [{"prompt_token_ids": question.prompt_ids}]
    if image is not None:
        prompts[0]["multi_modal_data"] = {"image": image}
        prompts[0]["multi_modal_uuids"] = {"image": [picture_uuid(question.request)]}
    if question.text_ids is not None:
        prompts.append({"prompt_token_ids": question.text_ids})
    return prompts


def picture_uuid(request: DecodeRequest) -> str:
    """The key under which vLLM caches the processed and the encoded picture, so that the next scale reuses both."""
    assert request.image is not None
    status = os.stat(request.image)
    return f"{request.image}:{status.st_size}:{status.st_mtime_ns}"


def _never_fits(waiting: _WaitingQuestion, capacity: Capacity) -> str:
    needed = waiting.demand
    return (
        f"question {waiting.question.request.id} does not fit into vLLM even alone: it needs {needed.rows} rows, "
        f"{needed.prompt_tokens} prompt tokens and {needed.blocks} cache blocks of {capacity.block_size} tokens, and "
        f"there are {capacity.max_num_seqs}, {capacity.max_num_batched_tokens} and {capacity.num_blocks}: lower "
        "--max_pixels or --max_new_tokens, or give vLLM more memory"
    )
