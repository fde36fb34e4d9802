"""A pool of decoding processes (hint_grpo.evaluation.worker), one per GPU; a process that is free gets the next questions.

The processes may start before it is known what they will decode: until then they import the libraries, and load no model.

A process may die at any moment (out of memory, a kill). It is restarted, and its unanswered questions go back to the front of
the queue. The run ends with an error only if several processes in a row die without an answer in between.
"""

import contextlib
import importlib.metadata
import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.evaluation.results import Answer
from hint_grpo.evaluation.settings import check_processes
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.hardware import available_cores, count_gpus, gpu_names
from hint_grpo.machine.processes import child_environment

MAX_DEATHS_IN_A_ROW = 3
LOG_LINES_SHOWN = 15

# ----------------------------------------------------------------------------------------------------
# Tasks, answers, slots, chunks


@dataclass(frozen=True, slots=True)
class Task:
    """A question and the scales that are missing for it; all of them are decoded by one process."""

    request: DecodeRequest
    scales: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DecodedAnswer:
    """One answer as it arrives. `seconds` is the decoding time since the previous answer of the same process."""

    id: str
    scale: float
    answer: Answer
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """Where a process runs: a GPU (its entry in CUDA_VISIBLE_DEVICES), a set of CPU cores, or unrestricted."""

    gpu: str | None = None
    cores: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """How many questions a process gets at a time.

    At least `minimum` if there are several processes, at most `maximum` (None: no limit).
    """

    minimum: int
    maximum: int | None = None

    def next(self, num_pending: int, num_processes: int) -> int:
        """The next chunk by guided self-scheduling: half of an even share of what is left, large at first, small at the end.

        A single process gets everything: a decoder fills its batches best if it knows every question.
        """
        share = -(-num_pending // num_processes)
        size = share if num_processes == 1 else max(self.minimum, -(-share // 2))
        return min(size, num_pending, self.maximum or num_pending)


# ----------------------------------------------------------------------------------------------------
# Processes and the pool


class DecodingFailed(RuntimeError):
    """A decoding process reported an exception; the message holds its traceback."""


class _Process:
    """A running worker: its process, its pipes (JSON lines), and the (id, scale) pairs that it has not answered yet."""

    def __init__(self, number: int, slot: WorkerSlot, backend: str, decoded_file: int, log_path: Path) -> None:
        self.number, self.log_path = number, log_path
        self.tasks: dict[str, DecodeRequest] = {}
        self.unanswered: set[tuple[str, float]] = set()
        self._buffer = b""
        self.has_new_log = not log_path.exists()
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "hint_grpo.evaluation.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(slot),
                pass_fds=(decoded_file,),
            )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._stdin, self.stdout = self._popen.stdin, self._popen.stdout
        os.set_blocking(self.stdout.fileno(), False)
        self._send({"cores": slot.cores, "backend": backend})

    def load(self, loading: Mapping[str, Any]) -> None:
        """Makes the process load the model."""
        self._send(loading)

    def assign(self, tasks: Sequence[Task]) -> None:
        """Sends the tasks as one job per scale. Call only after the process reported ready, so that the write cannot block."""
        self.tasks = {task.request.id: task.request for task in tasks}
        self.unanswered = {(task.request.id, scale) for task in tasks for scale in task.scales}
        jobs = [
            {"scale": scale, "requests": [asdict(task.request) for task in tasks if scale in task.scales]}
            for scale in dict.fromkeys(scale for task in tasks for scale in task.scales)
        ]
        self._send({"jobs": jobs})

    def read(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived; None if the process is gone. A message that a kill cut off is dropped."""
        try:
            data = os.read(self.stdout.fileno(), 1 << 16)
        except BlockingIOError:  # nothing to read yet, or the process has died
            return None if self.has_died() else []
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def remaining(self) -> list[Task]:
        """The assigned tasks, reduced to the scales that are not answered."""
        scales: dict[str, list[float]] = {id: [] for id in self.tasks}
        for id, scale in sorted(self.unanswered):
            scales[id].append(scale)
        return [Task(request, tuple(scales[id])) for id, request in self.tasks.items() if scales[id]]

    def has_died(self) -> bool:
        return self._popen.poll() is not None

    def stop(self) -> int:
        """Kills the process (its messages have been read) and returns its exit status."""
        self._popen.kill()
        for pipe in (self._stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):  # it died before it read the last message
                pipe.close()
        return self._popen.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            pass  # it has died: the loop in Pool.run sees the end of its stdout and restarts it


class Pool:
    """Runs tasks on one process per slot. Use as a context manager: leaving it kills every process.

    `decoded_file`: the open file of decoded pictures, which every process inherits under the same number. Each process logs to
    `log_folder`/worker-N.log.
    """

    def __init__(self, backend: str, decoded_file: int, log_folder: Path) -> None:
        self._backend, self._decoded_file, self._log_folder = backend, decoded_file, log_folder
        self._loading: Mapping[str, Any] | None = None  # not known yet
        self._chunks = ChunkSizes(1)
        self._selector = selectors.DefaultSelector()
        self._processes: list[_Process] = []
        self._idle: list[_Process] = []
        self._pending: deque[Task] = deque()
        self._deaths_in_a_row = 0
        self._slots: list[WorkerSlot] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self._processes):
            self._remove(process)
        self._selector.close()

    def start(self, slots: Sequence[WorkerSlot]) -> None:
        """Starts a process per slot, which imports the libraries and waits; those that run already in a slot given are kept."""
        kept = 0
        while kept < min(len(self._slots), len(slots)) and self._slots[kept] == slots[kept]:
            kept += 1
        for process in [process for process in self._processes if process.number >= kept]:
            self._remove(process)
        self._slots = list(slots)
        for number in range(kept, len(slots)):
            self._start(number)

    def run(self, tasks: Sequence[Task], loading: Mapping[str, Any], chunks: ChunkSizes) -> Iterator[DecodedAnswer]:
        """Loads the model in every process and yields every answer as it arrives, each (question, scale) once.

        `loading` are the arguments of `load_decoder`. Raises UserError for an error that a worker reports as the user's, or if
        workers keep dying; DecodingFailed for any other exception in a worker.
        """
        self._pending, self._loading, self._chunks = deque(tasks), loading, chunks
        for process in self._processes:
            process.load(loading)
        while self._pending or any(process.unanswered for process in self._processes):
            self._assign_chunks()
            for process in self._readable_processes():
                yield from self._handle_messages(process)

    def _start(self, number: int) -> None:
        log_path = self._log_folder / f"worker-{number}.log"
        process = _Process(number, self._slots[number], self._backend, self._decoded_file, log_path)
        self._processes.append(process)
        self._selector.register(process.stdout, selectors.EVENT_READ, process)
        if self._loading is not None:
            process.load(self._loading)

    def _remove(self, process: _Process) -> int:
        self._selector.unregister(process.stdout)
        self._processes.remove(process)
        self._idle = [idle for idle in self._idle if idle is not process]
        status = process.stop()
        if self._loading is None and process.has_new_log:
            process.log_path.unlink()  # the process was not needed
        return status

    def _assign_chunks(self) -> None:
        while self._idle and self._pending:
            size = self._chunks.next(len(self._pending), len(self._processes))
            self._idle.pop().assign([self._pending.popleft() for _ in range(size)])

    def _readable_processes(self) -> list[_Process]:
        """The processes whose pipe can be read, or after a second the dead ones, whose pipe a child may keep open."""
        ready = [key.data for key, _ in self._selector.select(timeout=1.0)]
        return ready or [process for process in self._processes if process.has_died()]

    def _handle_messages(self, process: _Process) -> Iterator[DecodedAnswer]:
        messages = process.read()
        if messages is None:
            self._restart(process)
            return
        for message in messages:
            if "ready" in message:
                self._idle.append(process)
            elif "user_error" in message:
                raise UserError(message["user_error"])
            elif "failure" in message:
                raise DecodingFailed(f"a decoding process failed (its log: {process.log_path})\n{message['failure']}")
            elif (message["id"], message["scale"]) in process.unanswered:
                process.unanswered.discard((message["id"], message["scale"]))
                self._deaths_in_a_row = 0
                yield _decoded_answer(message)

    def _restart(self, process: _Process) -> None:
        """After a death: unanswered questions go to the front of the queue, and a new process starts in the same slot."""
        self._pending.extendleft(reversed(process.remaining()))
        status = self._remove(process)
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
            raise UserError(
                f"{self._deaths_in_a_row} decoding processes ended one after the other without an answer "
                f"(the last with {_status_name(status)}); see {process.log_path}: {_last_lines(process.log_path)}"
            )
        if self._pending:
            print(f"a decoding process ended with {_status_name(status)}: starting it again", file=sys.stderr)
            self._start(process.number)


def _decoded_answer(message: Mapping[str, Any]) -> DecodedAnswer:
    answer = Answer(message["completion"], message["num_tokens"], message["finish_reason"])
    return DecodedAnswer(message["id"], message["scale"], answer, message["seconds"])


def _environment(slot: WorkerSlot) -> dict[str, str]:
    chosen = {} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}
    return child_environment({"PYTHONUNBUFFERED": "1", **chosen})


def _status_name(status: int) -> str:
    """An exit status in words: "signal 9" or "exit code 1"."""
    return f"signal {-status}" if status < 0 else f"exit code {status}"


def _last_lines(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LOG_LINES_SHOWN:]
    return " | ".join(line.strip() for line in lines if line.strip()) or "(empty)"


# ----------------------------------------------------------------------------------------------------
# Slots: one process per GPU, or on the CPU --num_processes processes (default 1)


def choose_slots(gpu_ids: Sequence[int] | None, num_processes: int | None = None) -> list[WorkerSlot]:
    """A slot per visible GPU, or per GPU of --gpu_ids; without a GPU, `num_processes` CPU slots (default: one).

    Raises UserError for GPUs that do not exist, and for `num_processes` on a machine with GPUs.
    """
    gpus = visible_gpus()
    check_processes(gpu_ids, num_processes, len(gpus))
    if not gpus:
        return cpu_slots(num_processes or 1)
    return [WorkerSlot(gpu=gpus[gpu]) for gpu in (gpu_ids or range(len(gpus)))]


@cache
def visible_gpus() -> tuple[str, ...]:
    """The visible GPUs as entries of CUDA_VISIBLE_DEVICES; --gpu_ids counts within them, as torch does."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return ()  # without the seconds of importing torch
    import torch  # here, because --help and a run with nothing to decode do not need it

    return gpu_names(torch.cuda.device_count())


def expected_slots(gpu_ids: Sequence[int] | None, num_processes: int | None = None) -> list[WorkerSlot]:
    """What `choose_slots` will return in all likelihood, by the driver and without torch, which takes seconds to import."""
    gpus = gpu_names(count_gpus())
    if not gpus:
        return cpu_slots(num_processes or 1)
    return [WorkerSlot(gpu=gpus[gpu]) for gpu in (gpu_ids or range(len(gpus))) if gpu < len(gpus)]


def cpu_slots(count: int) -> list[WorkerSlot]:
    """`count` slots that share the cores evenly; unrestricted for a single process, or if there are fewer cores than slots."""
    cores = available_cores()
    if count == 1 or len(cores) < count:
        return [WorkerSlot() for _ in range(count)]
    return [WorkerSlot(cores=tuple(cores[number::count])) for number in range(count)]
