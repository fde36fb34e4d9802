"""The vLLM server that a run starts on its spare GPUs, and shuts down when it ends, even after a crash.

`rollout_server` keeps it running for a `with` block. The server runs under the guard of `hint_grpo.machine.processes`, which
shuts it down if the trainer is killed.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.hardware import torchrun_chose_threads
from hint_grpo.machine.processes import child_environment, free_port, guarded
from hint_grpo.rollout.access import TOKEN_VARIABLE, server_session

PROGRESS_S = 10.0
# Set for a training process by torchrun and accelerate, and by hint_grpo.machine.stack: the server is not a rank, and its engine
# must not live in the process of the API server.
TRAINERS_VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_DEEPSPEED", "VLLM_ENABLE_V1_MULTIPROCESSING",
    "VLLM_API_KEY",
)  # fmt: skip


def is_the_trainers(name: str) -> bool:
    """Whether the server must not inherit a variable. OMP_NUM_THREADS is inherited only if the user has set it."""
    if name == "OMP_NUM_THREADS":
        return torchrun_chose_threads()
    if name == "VLLM_LOGGING_LEVEL":
        return os.environ[name] == "ERROR"  # hint_grpo.machine.stack sets it for vLLM inside a trainer
    return name in TRAINERS_VARIABLES or name.startswith("TORCHELASTIC")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The settings of the run's own server."""

    model: str
    dtype: str
    context_length: int
    max_num_seqs: int
    gpu_memory_utilization: float
    gpu_ids: tuple[str, ...] = ()
    """As CUDA_VISIBLE_DEVICES names them; empty on a CPU."""
    tensor_parallel_size: int = 1
    max_pixels: int | None = None
    trust_remote_code: bool = False

    def arguments(self, port: int) -> list[str]:
        """The command line for `hint_grpo.rollout.serve`."""
        data_parallel_size = max(1, len(self.gpu_ids) // self.tensor_parallel_size)
        arguments = {
            "--port": port,
            "--dtype": self.dtype,
            "--max-model-len": self.context_length,
            "--max-num-seqs": self.max_num_seqs,
            "--max-num-batched-tokens": max(8192, self.context_length),
            "--tensor-parallel-size": self.tensor_parallel_size,
            "--data-parallel-size": data_parallel_size,
            "--gpu-memory-utilization": self.gpu_memory_utilization,
            "--limit-mm-per-prompt": json.dumps({"image": 1, "video": 0}),
        }
        if self.max_pixels:
            arguments["--mm-processor-kwargs"] = json.dumps({"max_pixels": self.max_pixels})
        flags = ["--trust-remote-code"] if self.trust_remote_code else []
        return [self.model, *(str(part) for pair in arguments.items() for part in pair), *flags]


class ServerProcess:
    """A running server: its address, its token and its log."""

    def __init__(self, settings: ServerSettings, log: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.token = secrets.token_hex(32)
        self.log = log
        serve = [sys.executable, "-m", "hint_grpo.rollout.serve", *settings.arguments(port)]
        changes = {TOKEN_VARIABLE: self.token}
        if settings.gpu_ids:
            changes["CUDA_VISIBLE_DEVICES"] = ",".join(settings.gpu_ids)
        environment = child_environment(changes, without=is_the_trainers)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                guarded(serve),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # signals from a terminal or torchrun are meant for the trainer
            )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def log_tail(self, num_lines: int = 5) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{' | '.join(lines[-num_lines:])} ({self.log})"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextmanager
def rollout_server(settings: ServerSettings | None, log: Path) -> Iterator[ServerProcess | None]:
    """Starts a server and shuts it down when the block ends, also after an exception. `settings` None: no server."""
    if settings is None:
        yield None
        return
    server = ServerProcess(settings, log)
    try:
        yield server
    finally:
        server.stop()


def is_up(url: str, token: str | None) -> bool:
    """Whether the server answers. Raises UserError if it refuses the token."""
    try:
        with server_session(token, num_retries=0) as session:
            status = session.get(f"{url}/health", timeout=5).status_code
    except requests.RequestException:
        return False
    if status == 401:
        raise refused(url, token)
    return status == 200


def refused(url: str, token: str | None) -> UserError:
    """The error for a server that answered 401."""
    return UserError(
        f"the vLLM server at {url} refuses {'the token in' if token else 'requests without'} {TOKEN_VARIABLE}: set it to the "
        "value that it had when the server was started"
    )


def wait_until_up(url: str, timeout_s: float, server: ServerProcess | None, token: str | None) -> None:
    """Waits until the server answers and prints progress. Raises RuntimeError if the server has ended, or after `timeout_s`."""
    start = said = time.monotonic()
    while not is_up(url, token):
        now = time.monotonic()
        if server is not None and server.ended():
            raise RuntimeError(f"the vLLM server exited during start-up: {server.log_tail()}")
        if now - start > timeout_s:
            raise RuntimeError(
                f"the vLLM server at {url} is not up after {timeout_s:.0f} s (--vllm_server_timeout)"
                + (f": {server.log_tail()}" if server else "")
            )
        if now - said > PROGRESS_S:
            print(f"waiting for the vLLM server at {url}: {now - start:.0f} s", flush=True)
            said = now
        time.sleep(0.5)
    print(f"vLLM server up at {url} after {time.monotonic() - start:.0f} s", flush=True)
