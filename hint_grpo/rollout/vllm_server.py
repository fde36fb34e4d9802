"""Rollouts by a vLLM server: the paper's layout, in which one GPU serves and the others train.

Every rank sends its own turns and receives their completions, so that ranks may need different numbers of levels without mixing
up answers (TRL gathers all prompts on rank 0 and splits the answers by the local count: trl issue 6673). The server's scheduler
batches the requests of all ranks. A turn is sent to `/inference/v1/generate` as token ids with its picture, so that the trainer
scores exactly the tokens that were sampled. With speculative escalation they arrive in pieces (`vllm_stream`).
Weights are sent over NCCL on CUDA (TRL's client), otherwise as files; which of them, is decided in `weights`.
"""

import hint_grpo.machine.stack

import base64
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import requests
from accelerate.utils import broadcast_object_list, patch_environment
from safetensors.torch import save_file
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

from hint_grpo.machine.errors import RankError, UserError
from hint_grpo.machine.processes import free_port
from hint_grpo.rollout.access import (
    MAX_REQUESTS,
    authorization,
    bypass_proxies,
    local_address,
    server_session,
    token_of_the_environment,
)
from hint_grpo.rollout.escalation import Escalation, Job, Orders, Sampled, Turn
from hint_grpo.rollout.server_process import ServerProcess, refused, wait_until_up
from hint_grpo.rollout.vllm_common import SCORERS, forget_prefixes, sampling_settings
from hint_grpo.rollout.vllm_stream import StreamedCompletion
from hint_grpo.rollout.weights import EngineWeights, Layer, announcement, layers_to_send, tensors

ANSWER_TIMEOUT_S = 3600.0
START_COMMAND = "python -m hint_grpo.rollout.serve MODEL --port PORT"


class WeightClient(VLLMClient):
    """TRL's client, which sends weights over NCCL; with the server's token and without a proxy."""

    def __init__(self, url: str, token: str | None, *, group_port: int) -> None:
        self.token = token
        super().__init__(url, group_port=group_port)

    def check_server(self, total_timeout: float = 0.0, retry_interval: float = 2.0) -> None:
        """Called first by TRL's constructor. `wait_until_up` has checked the server already; TRL would check again without the
        token, and through a proxy if the environment names one."""
        self.session.trust_env = False
        self.session.headers.update(authorization(self.token))


class ServedVLLM(EngineWeights, VLLMGeneration):
    """A `RolloutBackend` over HTTP. `server` is the process that rank 0 started; None if the user runs the server."""

    def __init__(
        self, trainer: Any, suppressed_ids: list[int], *, context_length: int, server: ServerProcess | None
    ) -> None:
        self.args = args = trainer.args
        self.stages = trainer.stages
        self.suppressed_ids = suppressed_ids
        self.server = server
        self.weights_folder = Path(args.output_dir) / "weights_for_server"
        super().__init__(
            model=trainer.model,
            accelerator=trainer.accelerator,
            processing_class=trainer.processing_class,
            mode="server",
            server_timeout=args.vllm_server_timeout,
            max_model_length=context_length,
        )

    def _init_vllm(self) -> None:
        access: list[Any] = [self.args.vllm_server_base_url, token_of_the_environment()]
        if self.server:
            access = [self.server.url, self.server.token]
        broadcast_object_list(access, from_process=0)  # only rank 0 knows the run's own server
        self.url: str = access[0].rstrip("/")
        self.token: str | None = access[1]
        self.session = server_session(self.token)
        bypass_proxies(self.url)
        if self.accelerator.is_main_process:
            wait_until_up(self.url, self.server_timeout, self.server, self.token)
            self._check_server()
            if hint_grpo.machine.stack.HAS_CUDA:
                self._join_server()
        self.accelerator.wait_for_everyone()
        self.model_name = self._call("get", "/v1/models")["data"][0]["id"]

    def _join_server(self) -> None:
        """Creates the NCCL group for the weights. It listens on the address from which this machine reaches the server: for the
        run's own server, one that other machines cannot reach."""
        port = self.args.vllm_group_port or free_port()
        self.vllm_client = WeightClient(self.url, self.token, group_port=port)
        address = os.environ.get("VLLM_HOST_IP") if self.server is None else None
        with patch_environment(vllm_host_ip=address or local_address(self.url)):
            self.vllm_client.init_communicator(device=self.accelerator.device)

    def _check_server(self) -> None:
        """Checks that a server started by the user has what the trainer needs. Raises UserError with the flag to add."""
        response = self.session.get(f"{self.url}/server_info", params={"config_format": "json"}, timeout=60)
        if response.status_code == 404:
            raise UserError(
                f"the vLLM server at {self.url} has no endpoint for new weights: start it with {START_COMMAND}"
            )
        config = response.json()["vllm_config"]["model_config"]
        if config["logprobs_mode"] != "processed_logprobs":
            raise UserError(
                f"the vLLM server at {self.url} has --logprobs-mode {config['logprobs_mode']}: start it with "
                f"{START_COMMAND}, which sets processed_logprobs"
            )
        if config["max_model_len"] < self.max_model_length:
            raise UserError(
                f"the vLLM server at {self.url} has a context of {config['max_model_len']} tokens, the run needs "
                f"{self.max_model_length}: start it with --max-model-len {self.max_model_length}, or lower "
                "--max_prompt_length or --max_completion_length"
            )

    def sync_weights(self) -> None:
        """Sends the policy's current weights to the server; returns, on every rank, when the server samples from them."""
        with self.stages("sync"):
            self._sync_weights()

    def _sync_weights(self) -> None:
        layers = layers_to_send(self.model, with_frozen=not self.has_frozen)
        if not hint_grpo.machine.stack.HAS_CUDA:
            self._hand_over_files(layers)
        elif self._dist.is_fsdp:
            VLLMGeneration.sync_weights(self)
        elif self.accelerator.is_main_process:
            self.vllm_client.update_named_params(announcement(layers), tensors(layers))
        else:
            self._gather_with_rank_0(layers)
        self.has_frozen = True
        if self.accelerator.is_main_process:
            self._forget_caches()
        self.accelerator.wait_for_everyone()

    def _forget_caches(self) -> None:
        """Drops cached picture features and prefixes, which were computed with the old weights."""
        self._call("post", "/reset_encoder_cache")
        forget_prefixes(lambda: self._call("post", "/reset_prefix_cache")["success"])

    def _hand_over_files(self, layers: Sequence[Layer]) -> None:
        if not self.accelerator.is_main_process:
            self._gather_with_rank_0(layers)
            return
        self.weights_folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors(layers)), self.weights_folder / "model.safetensors")
        folder = str(self.weights_folder.resolve())
        self._call("post", "/collective_rpc", json={"method": "load_weights_from", "args": [folder]})
        shutil.rmtree(self.weights_folder)

    def _gather_with_rank_0(self, layers: Sequence[Layer]) -> None:
        if self._dist.is_zero3:
            for _ in tensors(layers):
                pass

    @contextmanager
    def ready(self) -> Iterator[None]:
        yield

    def run(self, escalation: Escalation) -> None:
        # What happens in the threads that wait for the server, and in those that score, is dealt with here, one after the other.
        events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        streams: dict[int, list[StreamedCompletion]] = {}  # by id of the turn, if it can be stopped
        num_running = 0

        def start(pool: ThreadPoolExecutor, work: Callable[[], Any], use: Callable[[Any], None]) -> None:
            nonlocal num_running
            num_running += 1
            pool.submit(work).add_done_callback(lambda future: events.put(partial(end, future, use)))

        def end(future: Future[Any], use: Callable[[Any], None]) -> None:
            nonlocal num_running
            num_running -= 1
            use(future.result())

        def sample(turns: Sequence[Turn]) -> None:
            for turn in turns:
                request = self._generate_request(turn, escalation.num_generations)
                if not escalation.speculative:
                    start(senders, partial(self._sample, turn, request), partial(finish_all, turn))
                    continue
                streams[id(turn)] = [StreamedCompletion() for _ in range(escalation.num_generations)]
                for place, stream in enumerate(streams[id(turn)]):
                    start(senders, partial(self._stream, stream, turn, place, request), partial(finish, turn, place))

        def finish_all(turn: Turn, completions: list[Sampled]) -> None:
            for place, completion in enumerate(completions):
                finish(turn, place, completion)

        def finish(turn: Turn, place: int, completion: Sampled | None) -> None:
            if completion is not None:  # it was not stopped
                carry_out(Orders(jobs=escalation.finished(turn, place, completion)))

        def carry_out(orders: Orders) -> None:
            for turn in orders.stop:
                lengths = [stream.stop() for stream in streams[id(turn)]]
                escalation.stopped(turn, [length for length in lengths if length is not None])
            sample(orders.sample)
            for job in orders.jobs:
                start(scorers, job.run, partial(conclude, job))

        def conclude(job: Job, result: Any) -> None:
            carry_out(job.conclude(result))

        with ThreadPoolExecutor(MAX_REQUESTS) as senders, ThreadPoolExecutor(SCORERS) as scorers:
            try:
                sample(escalation.first())
                while num_running:
                    events.get()()
            finally:  # after an error, no stream is waited for
                for stream in chain.from_iterable(streams.values()):
                    stream.stop()

    def _sample(self, turn: Turn, request: dict[str, Any]) -> list[Sampled]:
        answer = self._call("post", "/inference/v1/generate", json=request)
        self._check_prompt(turn, answer)
        return [_sampled(choice) for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]

    def _stream(self, stream: StreamedCompletion, turn: Turn, place: int, request: dict[str, Any]) -> Sampled | None:
        """The completion at `place` of the turn's group, with the seed that vLLM gives it in a request for the whole group."""
        settings = request["sampling_params"] | {"n": 1, "seed": turn.seed + place}
        request = request | {"sampling_params": settings, "stream": True}
        send = partial(self._request, "post", "/inference/v1/generate", json=request, stream=True)
        return stream.read(send, partial(self._check_prompt, turn))

    def _generate_request(self, turn: Turn, num_generations: int) -> dict[str, Any]:
        settings = sampling_settings(self.args, self.suppressed_ids, seed=turn.seed, num_generations=num_generations)
        return generate_request(self.model_name, turn, settings)

    def _check_prompt(self, turn: Turn, answer: dict[str, Any]) -> None:
        seen = answer.get("prompt_token_ids")
        if seen is not None and seen != turn.prompt.ids + turn.begun_ids:
            raise RankError(
                f"the vLLM server at {self.url} sees {len(seen)} tokens in a prompt that has "
                f"{len(turn.prompt.ids) + len(turn.begun_ids)} here: it must serve the model that is trained, with the same "
                f"--max_pixels (--mm-processor-kwargs '{{\"max_pixels\": {self.args.max_pixels}}}')"
            )

    def _call(self, method: str, path: str, **request: Any) -> Any:
        response = self._request(method, path, **request)
        return response.json() if response.content else None

    def _request(self, method: str, path: str, **request: Any) -> requests.Response:
        try:
            response = self.session.request(method, self.url + path, timeout=ANSWER_TIMEOUT_S, **request)
        except requests.ConnectionError as error:
            log = f"; the end of its log: {self.server.log_tail()}" if self.server else ""
            raise RuntimeError(f"the vLLM server at {self.url} does not answer{log}") from error
        if response.status_code == 401:
            raise refused(self.url, self.token)
        if response.status_code != 200:
            raise RuntimeError(
                f"{path} of the vLLM server at {self.url}: {response.status_code}, {response.text[:500]}"
            )
        return response


def generate_request(model_name: str, turn: Turn, settings: dict[str, Any]) -> dict[str, Any]:
    """The body of a request to /inference/v1/generate."""
    return {
        "model": model_name,
        "token_ids": turn.prompt.short_ids + turn.begun_ids,
        "content_parts": [{"type": "image_url", "url": _data_url(turn.prompt.sampler_image)}],
        "sampling_params": settings,
        "return_token_ids": True,
    }


def _data_url(image: Any) -> str:
    """The picture as PNG, which is lossless."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _sampled(choice: dict[str, Any]) -> Sampled:
    logps = [entry["logprob"] for entry in choice["logprobs"]["content"]]
    return Sampled(choice["token_ids"], logps, choice["finish_reason"])
