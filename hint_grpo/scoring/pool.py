"""Starts worker processes and sends them the comparisons of `checker.py`, from any thread of any process.

A worker (`worker.py`) is a fresh, light interpreter, started by exec: a fork would copy the caller's CUDA state, threads
and locks. Each request has a worker to itself, so an answer that runs into the time limit delays no other thread. A forked
child of the caller starts its own workers. This module also holds the counters that `stats()` returns.
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

logger = logging.getLogger(__name__)

# Starting means importing sympy: a second on an idle machine, far more on a cold network file system. It does not count
# towards the time of a comparison, or a slow start would turn right answers into wrong ones.
_START_LIMIT_S = 120.0
# How long a worker may take, beyond a comparison's limit, to notice the limit and to reply.
_GRACE_S = 1.0
_MAX_IDLE = 4  # workers; more are shut down when they become idle

# ----------------------------------------------------------------------------------------------------
# Counters, so that a time-out or a crash is visible and not only a 0.0


@dataclass
class Stats:
    """Counts since the process started or `reset_stats` was called; a forked child starts from zero."""

    scored: int = 0  # calls of score
    compared: int = 0  # requests to a worker; other scores were decided without one, or cached
    timeouts: int = 0  # stopped at the time limit; the score is 0.0
    crashes: int = 0  # the worker ran out of memory or died; the score is 0.0
    oversized: int = 0  # <answer> over MAX_CHARACTERS, or a text over a million characters; the score is 0.0


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


def _reset_stats_after_fork() -> None:
    """A forked child has its own counters, and its own lock: a thread of the parent may have held the other one."""
    global _stats, _lock
    _stats, _lock = Stats(), threading.Lock()


# ----------------------------------------------------------------------------------------------------
# One worker


class WorkerFailure(Exception):
    """A comparison has no verdict. `kind` is the counter of `Stats` for it: `timeouts` or `crashes`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class WorkerGone(WorkerFailure):
    """The worker itself died. No answer can cause this: a hostile one ends only the worker's child."""


class Worker:
    """One worker process, and this process's end of the socket to it. Used by one thread at a time."""

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
        """Raises RankError if the worker cannot start: otherwise every answer would score 0.0 without a message."""
        if self._ready:
            return
        try:
            first_message = receive(self._sock, Deadline(_START_LIMIT_S))
        except (EOFError, OSError) as error:
            self.kill()
            raise RankError(
                f"the answer checker's worker process did not start ({type(error).__name__}, exit code "
                f"{self._process.returncode}); to see why, run: {sys.executable} -c 'import math_verify'"
            ) from error
        if "missing" in first_message:
            self.kill()
            raise RankError(
                f"the answer checker cannot load math-verify ({first_message['missing']}); pip install math-verify"
            )
        self._ready = True

    def request_verdict(self, request: dict[str, Any]) -> bool:
        """The verdict. WorkerFailure if there is none; the worker can then be used again if it is still `alive`."""
        deadline = Deadline(WALL_LIMIT_S + _GRACE_S)
        try:
            self._number += 1
            send(self._sock, {"number": self._number, **request}, deadline)
            while (reply := receive(self._sock, deadline))["number"] != self._number:
                pass  # a late reply to an earlier request
        except TimeoutError as error:
            self.kill()
            raise WorkerFailure("timeouts") from error
        except (EOFError, OSError, ValueError, KeyError) as error:  # it died, perhaps in the middle of a message
            self.kill()
            raise WorkerGone("crashes") from error
        if "failed" in reply:
            raise WorkerFailure(reply["failed"])
        return bool(reply["equal"])

    def kill(self) -> None:
        """Ends the process. Its child exits when it notices the closed socket, or at its time limit."""
        self.alive = False
        self._sock.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a forked child: closes this end of the socket, without stopping the parent's worker."""
        self._sock.close()
        self._process.returncode = 0  # not a child of this process, so there is nothing to wait for


# ----------------------------------------------------------------------------------------------------
# All workers of this process


class WorkerPool:
    """The idle workers. A request takes one, or starts a new one if none is idle, and returns it afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []

    def request_verdict(self, request: dict[str, Any]) -> bool:
        """The verdict on one request. WorkerFailure, already logged, if a limit was exceeded or the worker died."""
        try:
            try:
                return self._request_once(request, self._take())
            except WorkerGone:  # killed from outside, perhaps while idle: retry once, with a new worker
                return self._request_once(request, Worker())
        except WorkerFailure as failure:
            logger.warning("an answer could not be compared (%s); it scores 0.0", failure.kind)
            raise

    def _request_once(self, request: dict[str, Any], worker: Worker) -> bool:
        try:
            worker.wait_until_ready()
            return worker.request_verdict(request)
        except WorkerFailure:
            raise
        except BaseException:  # such as KeyboardInterrupt: a connection with an unread reply must not be used again
            worker.kill()
            raise
        finally:
            self._give_back(worker)

    def start(self) -> None:
        """Starts a worker before the first comparison needs it, without waiting for it."""
        self._give_back(self._take())

    def close(self) -> None:
        """Ends every idle worker."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def forget(self) -> None:
        """In a forked child: drops the parent's workers. Without the lock: a thread of the parent may have held it."""
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


def request_verdict(request: dict[str, Any]) -> bool:
    """The verdict of a worker process on one request (`symbolic.py` lists the kinds). WorkerFailure if there is none."""
    return _pool.request_verdict(request)


def start() -> None:
    """Starts a worker before the first comparison needs it, without waiting for it."""
    _pool.start()


def _after_fork_in_child() -> None:
    global _pool
    _pool.forget()
    _pool = WorkerPool()
    _reset_stats_after_fork()


def _close_at_exit() -> None:
    _pool.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_at_exit)
