"""The worker: a fresh light interpreter that compares answers and may be killed at any moment.

`pool.py` starts it as `python -m hint_grpo.scoring.worker FD PARENT_PID`. It loads math_verify once and then forks a
child (safe here: one thread, no accelerator) that does the comparing. The kernel ends the child at a processor-time or
wall-clock limit, even inside one long call such as 10^10^10, and memory is limited too; the worker then says so and
forks the next child in milliseconds. Both notice within a second or so when the process that scores is gone, and leave.
"""

import contextlib
import mmap
import os
import resource
import signal
import socket
import sys
import traceback

from hint_grpo.scoring import wire

# Honest comparisons take up to 0.4 s. What counts is processor time: on a crowded machine an honest comparison was seen
# waiting seconds for its turn. The wall-clock limit is there for what neither computes nor ends.
CPU_LIMIT_S = 2.0
WALL_LIMIT_S = 20.0
# Address space of a child; Python, sympy and math_verify take 60 MiB of it.
MEMORY_LIMIT_BYTES = 1 << 30
# A child that came this close is replaced: a MemoryError that sympy swallowed looks like "not equal".
_RETIRE_BYTES = MEMORY_LIMIT_BYTES // 2
_RETIRED = 3
_PARENT_CHECK_S = 1.0


def main(fd: int, parent_pid: int) -> None:
    """Loads math_verify, says that it is ready, and keeps one child serving until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # what the caller ignores or blocks is handed down to its children
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
            outcome = _outcome(child, parent_pid)
            if outcome is None:
                return
            # A child that was killed while idle owes no reply; the number tells the parent which request one is for.
            if request_number := int.from_bytes(at_work[:], "big"):
                wire.send(sock, {"number": request_number, "failed": outcome}, wire.Deadline(WALL_LIMIT_S))
                at_work[:] = bytes(len(at_work))


def _load(sock: socket.socket) -> bool:
    try:
        from hint_grpo.scoring import comparison

        comparison.prepare()
    except ImportError as error:
        wire.send(sock, {"missing": str(error)}, wire.Deadline(WALL_LIMIT_S))
        return False
    wire.send(sock, {"ready": True}, wire.Deadline(WALL_LIMIT_S))
    return True


def _outcome(child: int, parent_pid: int) -> str | None:
    """How the child ended, as a counter of `Stats`; None where it was asked to leave or must."""
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        signal.sigtimedwait({signal.SIGCHLD}, _PARENT_CHECK_S)
        if os.getppid() != parent_pid:
            os.kill(child, signal.SIGKILL)
            return None
    code = os.waitstatus_to_exitcode(ended[1])
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        return "timeouts"
    return None if code == 0 else "crashes"


def _serve_and_exit(sock: socket.socket, at_work: mmap.mmap) -> None:
    """The child: compares until the connection closes (exit code 0) or the kernel ends it."""
    from hint_grpo.scoring import comparison

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    worker_pid, code = os.getppid(), 1
    try:
        while _request_waits(sock, worker_pid):
            request = wire.receive(sock, wire.Deadline(WALL_LIMIT_S))
            at_work[:] = request["number"].to_bytes(len(at_work), "big")
            _set_limits(CPU_LIMIT_S, WALL_LIMIT_S)
            equal = comparison.decide(request)
            _set_limits(0, 0)
            wire.send(sock, {"number": request["number"], "equal": equal}, wire.Deadline(WALL_LIMIT_S))
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
    while os.getppid() == worker_pid:
        sock.settimeout(_PARENT_CHECK_S)
        with contextlib.suppress(TimeoutError):
            return bool(sock.recv(1, socket.MSG_PEEK))
    return False


def _set_limits(cpu_s: float, wall_s: float) -> None:
    """The default action of both signals ends the process. Zero switches them off."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
