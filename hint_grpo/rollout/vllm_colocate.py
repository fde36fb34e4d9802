"""Rollouts by vLLM in the trainer's process and on its GPU (TRL's colocate mode).

Built on TRL's VLLMGeneration. It differs from TRL in:

- prompts carry one image placeholder per image: TRL sends them expanded, and vLLM expands them again (trl issue 6294);
- weights go through vLLM's own reload path: TRL's `load_weights` fails on vLLM's CPU build, whose weights are repacked. Which
  of them are sent, and how they are gathered, is decided in `weights`;
- the engine has the trainer's dtype, and never samples a vision token;
- the engine is stepped here, so that a prompt moves up a level as soon as its own group is scored, or its higher levels are
  stopped as soon as a completion is right, and completions are scored while others are sampled.
"""

import hint_grpo.machine.stack

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from accelerate.utils import patch_environment
from trl.generation.vllm_generation import VLLMGeneration
from vllm import LLM, SamplingParams
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind

from hint_grpo.machine.processes import free_port
from hint_grpo.rollout.escalation import Escalation, Job, Orders, Sampled, Turn
from hint_grpo.rollout.vllm_common import SCORERS, Pieces, forget_prefixes, repack_tied_head, sampling_settings
from hint_grpo.rollout.weights import EngineWeights, layers_to_send, tensors

SCORING_STEPS = 2  # engine steps after which a job's result is used; scoring runs in parallel until then
WHOLE = 2**31 - 1  # tokens between two outputs of a completion: only the first one and the end


@dataclass(slots=True)
class InFlight:
    """A turn in the engine: one request for all G completions. `engine_id`: vLLM's name of the request."""

    turn: Turn
    engine_id: str
    pieces: Pieces = field(default_factory=Pieces)

    def add(self, piece: CompletionOutput) -> Sampled | None:
        """The completion that the piece belongs to, if it has ended."""
        pairs = zip(piece.token_ids, piece.logprobs or (), strict=True)
        logps = [logprobs[token].logprob for token, logprobs in pairs]
        return self.pieces.add(piece.index, piece.token_ids, logps, piece.finish_reason)


class ColocatedVLLM(EngineWeights, VLLMGeneration):
    """A `RolloutBackend` over an in-process vLLM engine."""

    def __init__(self, trainer: Any, suppressed_ids: list[int], *, context_length: int, max_num_seqs: int) -> None:
        self.suppressed_ids = suppressed_ids
        self.args = args = trainer.args
        self.stages = trainer.stages
        super().__init__(
            model=trainer.model,
            accelerator=trainer.accelerator,
            processing_class=trainer.processing_class,
            mode="colocate",
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=context_length,
            max_num_seqs=max_num_seqs,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            model_impl=args.vllm_model_impl,
            trust_remote_code=args.trust_remote_code,
        )

    def _init_vllm(self) -> None:
        with self._engine_variables(), threads_kept():
            self.llm = LLM(
                model=self.model.name_or_path,
                dtype=self.args.rollout_dtype or str(self.model.dtype).removeprefix("torch."),
                gpu_memory_utilization=self.gpu_memory_utilization,
                max_model_len=self.max_model_length,
                max_num_seqs=self.max_num_seqs,
                # A whole prompt with its image is computed in one step.
                max_num_batched_tokens=max(4096, self.max_model_length or 0),
                stream_interval=WHOLE,
                # A seeded request whose prompt is cut in two crashes vLLM on a CPU ("CPU Generator does not use offset").
                enable_chunked_prefill=hint_grpo.machine.stack.HAS_CUDA,
                limit_mm_per_prompt={"image": 1, "video": 0},
                mm_processor_kwargs={"max_pixels": self.args.max_pixels} if self.args.max_pixels else None,
                enable_sleep_mode=self.enable_sleep_mode,
                enforce_eager=not hint_grpo.machine.stack.HAS_CUDA,  # compiling for a CPU takes longer than it saves
                model_impl=self.model_impl,
                trust_remote_code=self.trust_remote_code,
                distributed_executor_backend="external_launcher",
                logprobs_mode="processed_logprobs",  # after temperature: what the trainer computes
                seed=self.accelerator.process_index,
                disable_log_stats=True,
            )
        self._llm_weights_sleeping = False
        if self.enable_sleep_mode:
            self._sleep()
        # vLLM's start-up time differs between ranks; DeepSpeed hangs if the ranks drift apart here.
        self.accelerator.wait_for_everyone()

    def _engine_variables(self) -> AbstractContextManager[None]:
        """Sets torchrun's variables, which vLLM's external launcher reads, while the engine is built.

        They are removed again afterwards, or processes started later would read them. A single process uses a free port, so that
        two runs on one machine do not collide on port 29500.

        With sleep mode, vLLM's V1 model runner is used. V2 allocates its input buffers while it loads the model, in memory that
        sleep level 2 discards, and vLLM restores only the model's registered buffers: a CUDA graph would read undefined padding
        of the mrope positions and index out of bounds. V1 allocates them elsewhere.
        """
        place = {
            "rank": self.accelerator.process_index,
            "local_rank": self.accelerator.local_process_index,
            "world_size": self.accelerator.num_processes,
        }
        if self.accelerator.num_processes == 1:
            place |= {"master_addr": "127.0.0.1", "master_port": free_port()}
        if self.enable_sleep_mode:
            place["VLLM_USE_V2_MODEL_RUNNER"] = 0
        return patch_environment(**place)

    def _sleep(self) -> None:
        self.llm.sleep(level=2)  # discards weights and cache: the next sync loads the weights again
        self._llm_weights_sleeping = True

    def sync_weights(self) -> None:
        """Loads the policy's current weights into the engine and drops caches computed with the old ones."""
        with self.stages("sync"):
            self._sync_weights()

    def _sync_weights(self) -> None:
        if self.enable_sleep_mode:
            torch.cuda.empty_cache()
            self.llm.wake_up(tags=["weights"])
        worker = self.llm.llm_engine.model_executor.driver_worker
        worker.reload_weights(weights_iterator=self._new_weights())
        repack_tied_head(worker.get_model())
        # Both caches hold results of the old weights. The reload clears the worker's half of the picture cache; the scheduler's
        # half must be cleared too, or it would expect pictures there that are gone.
        forget_prefixes(self.llm.reset_prefix_cache)
        self.llm.llm_engine.reset_encoder_cache()
        self._llm_weights_sleeping, self.has_frozen = False, True

    def _new_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self._dist.is_fsdp:
            return self._iter_named_params()
        with_frozen = self._llm_weights_sleeping or not self.has_frozen  # an engine that slept has lost them
        return tensors(layers_to_send(self.model, with_frozen=with_frozen))

    @contextmanager
    def ready(self) -> Iterator[None]:
        if self.enable_sleep_mode:
            if self._llm_weights_sleeping:
                self.sync_weights()
            torch.cuda.empty_cache()  # left over from gathering weights; older vLLM versions do not free it on waking
            self.llm.wake_up(tags=["kv_cache"])
        yield
        if self.enable_sleep_mode:
            self._sleep()

    def run(self, escalation: Escalation) -> None:
        engine = self.llm.llm_engine
        in_flight: dict[str, InFlight] = {}
        scoring: deque[tuple[int, Future[Any], Callable[[Any], Orders]]] = deque()

        def start(jobs: Sequence[Job]) -> None:
            for job in jobs:
                scoring.append((step + SCORING_STEPS, scorers.submit(job.run), job.conclude))

        def submit(turns: Sequence[Turn]) -> None:
            for turn in turns:
                settings = self._settings(turn, escalation.num_generations)
                # A group's completions one by one, or together when all have ended.
                kind = RequestOutputKind.DELTA if escalation.speculative else RequestOutputKind.FINAL_ONLY
                params = SamplingParams(**(settings | {"output_kind": kind}))
                engine_id = engine.add_request(_request_id(turn), self._prompt(turn), params)
                in_flight[_request_id(turn)] = InFlight(turn, engine_id)

        def stop(turns: Sequence[Turn]) -> None:
            for turn in turns:
                if stopped := in_flight.pop(_request_id(turn), None):
                    escalation.stopped(turn, self._lengths(stopped, escalation.num_generations))
                    engine.abort_request([stopped.engine_id], internal=True)

        submit(escalation.first())
        # Completions are scored in threads (which wait for the scoring processes) while the engine samples the others.
        with ThreadPoolExecutor(SCORERS if escalation.speculative else 1) as scorers:
            for step in count():
                # Results are used after a fixed number of engine steps, not when they are ready: which turns share a batch must
                # not depend on timing, or a repeated step would differ in the last bit.
                while scoring and (step >= scoring[0][0] or not in_flight):
                    _, result, conclude = scoring.popleft()
                    orders = conclude(result.result())
                    stop(orders.stop)
                    submit(orders.sample)
                    start(orders.jobs)
                if not in_flight:
                    break
                for output in engine.step():
                    flight = in_flight.get(output.request_id)
                    if flight is None:  # stopped
                        continue
                    if output.finished:
                        del in_flight[output.request_id]
                    for piece in output.outputs:
                        if completion := flight.add(piece):
                            start(escalation.finished(flight.turn, piece.index, completion))
        # With asynchronous scheduling a step for completions that have ended meanwhile may still be running.
        while engine.engine_core.engine_core.batch_queue:
            engine.step()

    def _lengths(self, flight: InFlight, num_generations: int) -> list[int]:
        """How many tokens the completions have that have not ended; 0 if vLLM has not begun with one."""
        states = self.llm.llm_engine.output_processor.request_states
        # vLLM's names of the G parts of a request; of a request for one completion, its own.
        names = [f"{place}_{flight.engine_id}" for place in range(num_generations)]
        running = [states[name] for name in [*names, flight.engine_id] if name in states]
        return [state.detokenizer.num_output_tokens() for state in running]

    def _settings(self, turn: Turn, num_generations: int) -> dict[str, Any]:
        return sampling_settings(self.args, self.suppressed_ids, seed=turn.seed, num_generations=num_generations)

    @staticmethod
    def _prompt(turn: Turn) -> dict[str, Any]:
        return {
            "prompt_token_ids": turn.prompt.short_ids + turn.begun_ids,
            "multi_modal_data": {"image": turn.prompt.sampler_image},
        }


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restores torch's number of CPU threads after the block. vLLM sets it to one for serving, but the optimizer of ZeRO
    offload runs in this process, on the CPU. vLLM's CPU build also replaces `torch.set_num_threads` by a stub."""
    set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(num_threads)


def _request_id(turn: Turn) -> str:
    return f"{turn.index}-{turn.hint.level}"
