"""The worker: a fresh light interpreter that compares answers and may be killed at any moment.

`pool.py` starts it as `python -m hint_grpo.scoring.worker FD PARENT_PID`. It loads math_verify once and then forks a
child (safe here: one thread, no accelerator) that does the comparing. The kernel ends the child at a processor-time or
wall-clock limit, even inside one long call such as 10^10^10, and memory is limited too; the worker then says so and
forks the next child in milliseconds. Both notice within a second or so when the process that scores is gone, and leave.
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

# ----------------------------------------------------------------------------------------------------
# Messages between the checker and its worker processes: a length, then JSON, over a socket.

_LENGTH = struct.Struct("!I")


class Deadline:
    """Sets a socket's time-out to what is left of a limit, so that many small reads cannot add up past it."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def arm(self, sock: socket.socket) -> None:
        """Raises TimeoutError where nothing is left."""
        if self._end is None:
            sock.settimeout(None)
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)


def send(sock: socket.socket, message: dict[str, Any], deadline: Deadline) -> None:
    """Sends one message. Lone surrogates (a completion may hold any code point) travel as JSON escapes."""
    body = json.dumps(message).encode("ascii")
    deadline.arm(sock)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def receive(sock: socket.socket, deadline: Deadline) -> dict[str, Any]:
    """The next message; EOFError where the other side is gone."""
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


# Honest comparisons take up to 0.4 s of processor time. That is what counts: on a crowded machine honest ones were seen
# waiting five seconds for their turn. One that has had SHARE_S is given up after PATIENCE_S by the clock.
CPU_LIMIT_S = 2.0
PATIENCE_S, SHARE_S = 4.0, 0.6
WALL_LIMIT_S = 20.0  # for what neither computes nor ends
# Address space of a child; Python, sympy and math_verify take 60 MiB of it.
MEMORY_LIMIT_BYTES = 1 << 30
# A child that came this close is replaced: a MemoryError that sympy swallowed looks like "not equal".
_RETIRE_BYTES = MEMORY_LIMIT_BYTES // 2
_RETIRED = 3
_CHECK_S = 0.5


def main(fd: int, parent_pid: int) -> None:
    """Loads math_verify, says that it is ready, and keeps one child serving until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    for handed_down in (signal.SIGALRM, signal.SIGPROF, signal.SIGTERM):
        signal.signal(handed_down, signal.SIG_DFL)  # the caller may ignore or block them
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGCHLD})  # waited for in _outcome
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    at_work = mmap.mmap(-1, 8)  # shared with the children: the number of the request being answered, 0 for none
    with socket.socket(fileno=fd) as sock:
        if not _load(sock):
            return
        while True:
            child = os.fork()
            if child == 0:
                _serve_and_exit(sock, at_work)
            outcome = _outcome(child, parent_pid, at_work)
            if outcome is None:
                return
            # A child that was killed while idle owes no reply; the number tells the parent which request one is for.
            if number := _number(at_work):
                send(sock, {"number": number, "failed": outcome}, Deadline(WALL_LIMIT_S))
                at_work[:] = bytes(len(at_work))


def _load(sock: socket.socket) -> bool:
    try:
        from hint_grpo.scoring import comparison

        comparison.prepare()
    except ImportError as error:
        send(sock, {"missing": str(error)}, Deadline(WALL_LIMIT_S))
        return False
    send(sock, {"ready": True}, Deadline(WALL_LIMIT_S))
    return True


def _number(at_work: mmap.mmap) -> int:
    return int.from_bytes(at_work[:], "big")


def _outcome(child: int, parent_pid: int, at_work: mmap.mmap) -> str | None:
    """How the child ended, as a counter of `Stats`; None where it was asked to leave or must."""
    seen, since, cpu_before = 0, 0.0, 0.0
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        signal.sigtimedwait({signal.SIGCHLD}, _CHECK_S)
        if not is_parent(parent_pid):
            os.kill(child, signal.SIGKILL)
            return None
        number, now = _number(at_work), time.monotonic()
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


def _serve_and_exit(sock: socket.socket, at_work: mmap.mmap) -> None:
    """The child: compares until the connection closes (exit code 0) or the kernel ends it."""
    from hint_grpo.scoring import comparison

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    worker_pid, code = os.getppid(), 1
    try:
        while _request_waits(sock, worker_pid):
            request = receive(sock, Deadline(WALL_LIMIT_S))
            at_work[:] = request["number"].to_bytes(len(at_work), "big")
            _set_limits(CPU_LIMIT_S, WALL_LIMIT_S)
            equal = comparison.decide(request)
            _set_limits(0, 0)
            send(sock, {"number": request["number"], "equal": equal}, Deadline(WALL_LIMIT_S))
            at_work[:] = bytes(len(at_work))
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > _RETIRE_BYTES:
                os._exit(_RETIRED)
        code = 0
    except BaseException:
        traceback.print_exc()  # the worker reports the failure; stderr is there for whoever runs it by hand
    os._exit(code)  # never back into the worker's loop


def _request_waits(sock: socket.socket, worker_pid: int) -> bool:
    """Waits for the next request; False when the parent closed the connection or the worker is gone.

    A forked sibling of the parent may hold its end open, so the closed connection alone would not tell.
    """
    while is_parent(worker_pid):
        sock.settimeout(_CHECK_S)
        with contextlib.suppress(TimeoutError):
            return bool(sock.recv(1, socket.MSG_PEEK))
    return False


def _set_limits(cpu_s: float, wall_s: float) -> None:
    """The default action of both signals ends the process. Zero switches them off."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
