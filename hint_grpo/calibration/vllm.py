"""The fast backend: calibration inside vLLM, with continuous batching and no model code changed.

A question is two requests, with and without its picture, in the same batch of every engine step; a logits processor
writes the calibrated logits into both rows (hint_grpo.calibration.rows), so that greedy sampling picks the same token
in both. At scale 0 it is one request, and costs what plain vLLM costs. The engine is stepped by hand
(hint_grpo.calibration.vllm_run).
"""

from hint_grpo.stack import HAS_CUDA

import gc
from collections.abc import Iterator, Sequence

import torch
from vllm import LLMEngine

from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.questions import QuestionEncoder
from hint_grpo.calibration.rules import GreedyRules
from hint_grpo.calibration.vllm_engine import capacity_of
from hint_grpo.calibration.vllm_run import Run, Station


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
