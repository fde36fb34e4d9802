"""The worker: a process that compares answers and can be killed at any moment.

`pool.py` starts it as `python -m hint_grpo.scoring.worker FD PARENT_PID`; FD is its end of a socket. Three processes:

    parent   sends a numbered request and waits for the reply (pool.py)
    worker   loads math_verify once, then forks a child and watches it (main, _watch_child)
    child    answers requests, one at a time (_serve_and_exit); forking is safe: one thread, no accelerator

A comparison has limits on processor time, wall-clock time and memory, which the kernel enforces even inside one long call
such as 10^10^10 by ending the child. The worker then reports the failure and forks the next child within milliseconds. When
the parent is gone, the worker and the child exit within about a second.

The messages are {"ready": true} or {"missing": reason} at the start, then {"number": 1, ...a request of symbolic.py} and
{"number": 1, "equal": true} or {"number": 1, "failed": "timeouts"}.
"""

import contextlib
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from hint_grpo.machine.processes import is_parent

# Limits of one comparison. Honest ones need up to 0.4 s of processor time, but on a crowded machine some waited five
# seconds for a processor; so processor time is what counts.
CPU_LIMIT_S = 2.0
# A comparison that used SHARE_S of processor time is killed after PATIENCE_S of wall-clock time.
PATIENCE_S, SHARE_S = 4.0, 0.6
WALL_LIMIT_S = 20.0  # for one that neither computes nor ends
# Address space of a child; Python, sympy and math_verify need 60 MiB of it.
MEMORY_LIMIT_BYTES = 1 << 30
# A child that used this much is replaced: if sympy catches a MemoryError, the result looks like "not equal".
_RETIRE_BYTES = MEMORY_LIMIT_BYTES // 2
_RETIRED = 3  # exit code
_CHECK_S = 0.5  # between two checks on the child or the parent

# ----------------------------------------------------------------------------------------------------
# Messages between parent and worker: the length in four bytes, then JSON

_LENGTH = struct.Struct("!I")


class Deadline:
    """A time limit for a whole message: sets the socket's time-out to the time left, before each send or read.

    `seconds`: None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def arm(self, sock: socket.socket) -> None:
        """Raises TimeoutError if no time is left."""
        if self._end is None:
            sock.settimeout(None)
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)


def send(sock: socket.socket, message: dict[str, Any], deadline: Deadline) -> None:
    """Sends one message. JSON escapes lone surrogates, which a completion may contain and UTF-8 cannot encode."""
    body = json.dumps(message).encode("ascii")
    deadline.arm(sock)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def receive(sock: socket.socket, deadline: Deadline) -> dict[str, Any]:
    """The next message. EOFError if the other side closed the connection, TimeoutError after the deadline."""
    (length,) = _LENGTH.unpack(_receive_exactly(sock, _LENGTH.size, deadline))
    message: dict[str, Any] = json.loads(_receive_exactly(sock, length, deadline))
    return message


def _receive_exactly(sock: socket.socket, size: int, deadline: Deadline) -> bytes:
    body = bytearray()
    while len(body) < size:
        deadline.arm(sock)
        chunk = sock.recv(min(size - len(body), 1 << 16))
        if not chunk:
            raise EOFError("the other side closed the connection")
        body += chunk
    return bytes(body)


# ----------------------------------------------------------------------------------------------------
# The worker


def main(fd: int, parent_pid: int) -> None:
    """Loads math_verify, reports that it is ready, and keeps one child running until the parent is gone."""
    # Signals: exec keeps those that the parent ignores or blocks, and the limits need them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    for inherited in (signal.SIGALRM, signal.SIGPROF, signal.SIGTERM):
        signal.signal(inherited, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGCHLD})  # _watch_child waits for it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    current = mmap.mmap(-1, 8)  # shared with the children: the number of the request being answered, 0 for none
    with socket.socket(fileno=fd) as sock:
        if not _load(sock):
            return
        while True:
            child = os.fork()
            if child == 0:
                _serve_and_exit(sock, current)
            failure = _watch_child(child, parent_pid, current)
            if failure is None:
                return
            # The child's request gets its reply from here; a child that was killed while idle had none.
            if number := _number(current):
                send(sock, {"number": number, "failed": failure}, Deadline(WALL_LIMIT_S))
                current[:] = bytes(len(current))


def _load(sock: socket.socket) -> bool:
    """Imports math_verify and reports the result to the parent; False if it is not installed."""
    try:
        from hint_grpo.scoring import symbolic

        symbolic.prepare()
    except ImportError as error:
        send(sock, {"missing": str(error)}, Deadline(WALL_LIMIT_S))
        return False
    send(sock, {"ready": True}, Deadline(WALL_LIMIT_S))
    return True


def _number(current: mmap.mmap) -> int:
    return int.from_bytes(current[:], "big")


def _watch_child(child: int, parent_pid: int, current: mmap.mmap) -> str | None:
    """Waits for the child to end: `timeouts` or `crashes` (a counter of `Stats`), or None if the worker must exit too."""
    # The request being answered, its start, and the child's processor time at its start.
    seen, since, cpu_before = 0, 0.0, 0.0
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        signal.sigtimedwait({signal.SIGCHLD}, _CHECK_S)
        if not is_parent(parent_pid):
            os.kill(child, signal.SIGKILL)
            return None
        number, now = _number(current), time.monotonic()
        if number == 0 or number != seen:
            seen, since, cpu_before = number, now, _cpu_seconds(child)
        elif now - since > PATIENCE_S - _CHECK_S and _cpu_seconds(child) - cpu_before > SHARE_S:
            os.kill(child, signal.SIGPROF)
    code = os.waitstatus_to_exitcode(ended[1])
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        return "timeouts"
    return None if code == 0 else "crashes"


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15); 0.0 once it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _serve_and_exit(sock: socket.socket, current: mmap.mmap) -> None:
    """The child: answers requests until the connection closes (exit code 0) or the kernel ends the process."""
    from hint_grpo.scoring import symbolic

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    worker_pid, code = os.getppid(), 1
    try:
        while _wait_for_request(sock, worker_pid):
            request = receive(sock, Deadline(WALL_LIMIT_S))
            current[:] = request["number"].to_bytes(len(current), "big")
            _set_limits(CPU_LIMIT_S, WALL_LIMIT_S)
            equal = symbolic.decide(request)
            _set_limits(0, 0)
            send(sock, {"number": request["number"], "equal": equal}, Deadline(WALL_LIMIT_S))
            current[:] = bytes(len(current))
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > _RETIRE_BYTES:
                os._exit(_RETIRED)
        code = 0
    except BaseException:
        traceback.print_exc()  # for those who run a worker by hand; the worker reports the failure to the parent
    os._exit(code)  # never returns into the worker's loop


def _wait_for_request(sock: socket.socket, worker_pid: int) -> bool:
    """Waits for the next request; False if the parent closed the connection or the worker is gone.

    The worker is checked as well, because the connection stays open if a forked child of the parent still holds it.
    """
    while is_parent(worker_pid):
        sock.settimeout(_CHECK_S)
        with contextlib.suppress(TimeoutError):
            return bool(sock.recv(1, socket.MSG_PEEK))
    return False


def _set_limits(cpu_s: float, wall_s: float) -> None:
    """Both signals end the process by default. Zero switches the limits off."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
