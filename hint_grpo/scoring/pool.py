"""Worker processes that compare answers: bounded in time and memory, usable from any thread and any process.

A worker is a fresh light interpreter (exec, never a fork of the caller, which may hold CUDA, threads and locks). Each
thread has one to itself while it waits, so nobody queues behind a hostile answer. A forked child of the caller starts
its own workers.
"""

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

from hint_grpo.machine.errors import RankError
from hint_grpo.machine.processes import child_environment
from hint_grpo.scoring.worker import WALL_LIMIT_S, Deadline, receive, send

# ----------------------------------------------------------------------------------------------------
# What the checker did in this process, so that a time-out or a crash never hides behind a plain 0.0.


@dataclass
class Stats:
    """Counts since the process started or `reset_stats` was called; a forked child starts from zero."""

    scored: int = 0  # calls of score
    compared: int = 0  # sent to a worker process; the others were decided at once, or before
    timeouts: int = 0  # given up at the time limit; the score is 0.0
    crashes: int = 0  # the worker ran out of memory or died; the score is 0.0
    oversized: int = 0  # an <answer> too long to be one, or a completion of over a million characters; the score is 0.0


_stats = Stats()
_lock = threading.Lock()


def count(name: str) -> None:
    """Adds one to the counter `name`."""
    with _lock:
        setattr(_stats, name, getattr(_stats, name) + 1)


def stats() -> dict[str, int]:
    """The counters of this process by name; see `Stats` for their meaning."""
    with _lock:
        return asdict(_stats)


def reset_stats() -> None:
    """Sets every counter to zero."""
    with _lock:
        for field in fields(_stats):
            setattr(_stats, field.name, 0)


def after_fork_in_child() -> None:
    """A forked child counts for itself, and must not wait for a lock that a thread of its parent held."""
    global _stats, _lock
    _stats, _lock = Stats(), threading.Lock()


logger = logging.getLogger(__name__)

# Starting means importing sympy: a second on an idle machine, far more on a cold network file system. Not part of a
# comparison's time, or a slow start would turn right answers into wrong ones.
_START_LIMIT_S = 120.0
# What a worker may take beyond a comparison's limit to notice it and to say so.
_GRACE_S = 1.0
_MAX_IDLE = 4


class WorkerFailure(Exception):
    """A comparison got no verdict; `kind` is the counter it belongs to, `timeouts` or `crashes`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class WorkerGone(WorkerFailure):
    """The worker itself died, which no answer can bring about: hostile ones end its child alone."""


class Worker:
    """One worker process and the parent's end of its connection."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair()
        # The hash seed fixes sympy's ordering, so that a verdict does not depend on the process that gave it.
        env = child_environment({"PYTHONHASHSEED": "0"})
        command = [sys.executable, "-P", "-m", "hint_grpo.scoring.worker", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                env=env,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._ready = False
        self._number = 0
        self.alive = True

    def wait_until_ready(self) -> None:
        """RankError where the worker cannot start: without it every answer would silently score 0.0."""
        if self._ready:
            return
        try:
            hello = receive(self._sock, Deadline(_START_LIMIT_S))
        except (EOFError, OSError) as error:
            self.kill()
            raise RankError(
                f"the answer checker's worker process did not start ({type(error).__name__}, exit code "
                f"{self._process.returncode}); to see why, run: {sys.executable} -c 'import math_verify'"
            ) from error
        if "missing" in hello:
            self.kill()
            raise RankError(f"the answer checker cannot load math-verify ({hello['missing']}); pip install math-verify")
        self._ready = True

    def ask(self, request: dict[str, Any]) -> bool:
        """The verdict. WorkerFailure where there is none; `alive` then says whether the worker can be asked again."""
        deadline = Deadline(WALL_LIMIT_S + _GRACE_S)
        try:
            self._number += 1
            send(self._sock, {"number": self._number, **request}, deadline)
            while (reply := receive(self._sock, deadline))["number"] != self._number:
                pass  # a late word on an earlier request
        except TimeoutError as error:
            self.kill()
            raise WorkerFailure("timeouts") from error
        except (EOFError, OSError, ValueError, KeyError) as error:  # it died, or died in the middle of a message
            self.kill()
            raise WorkerGone("crashes") from error
        if "failed" in reply:
            raise WorkerFailure(reply["failed"])
        return bool(reply["equal"])

    def kill(self) -> None:
        """Ends the process; its child notices the closed connection, or meets its own time limit."""
        self.alive = False
        self._sock.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a forked child: lets go of the parent's worker without touching it."""
        self._sock.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for


class WorkerPool:
    """Idle workers, handed out one per request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []

    def ask(self, request: dict[str, Any]) -> bool:
        """The verdict on one comparison; WorkerFailure (already logged) where there is none in time and memory."""
        try:
            try:
                return self._ask_one_worker(request)
            except WorkerGone:  # ended from outside, while idle perhaps: not this answer's fault
                return self._ask_one_worker(request)
        except WorkerFailure as failure:
            logger.warning("an answer could not be compared (%s); it scores 0.0", failure.kind)
            raise

    def _ask_one_worker(self, request: dict[str, Any]) -> bool:
        worker = self._take()
        try:
            worker.wait_until_ready()
            return worker.ask(request)
        except WorkerFailure:
            raise
        except BaseException:  # a signal handler of the caller raised: a half-used connection is never used again
            worker.kill()
            raise
        finally:
            self._give_back(worker)

    def start(self) -> None:
        """Starts a worker ahead of the first comparison, without waiting for it."""
        self._give_back(self._take())

    def close(self) -> None:
        """Ends every idle worker."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def forget(self) -> None:
        """In a forked child: drops the parent's workers. No lock: a thread that is not here may have held it."""
        for worker in self._idle:
            worker.forget()

    def _take(self) -> Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Worker()

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.alive and len(self._idle) < _MAX_IDLE:
                self._idle.append(worker)
                return
        worker.kill()


_pool = WorkerPool()


def ask(request: dict[str, Any]) -> bool:
    """The verdict of a worker process of this process on one comparison."""
    return _pool.ask(request)


def start() -> None:
    """Starts a worker ahead of the first comparison, without waiting for it."""
    _pool.start()


def _after_fork_in_child() -> None:
    global _pool
    _pool.forget()
    _pool = WorkerPool()
    after_fork_in_child()


def _close_at_exit() -> None:
    _pool.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_at_exit)
