"""Child processes that must not outlive their parent, and what every child of this project is started with.

A process killed with SIGKILL cleans up nothing, so it is the child that has to notice. Two mechanisms, for two cases:

- `is_parent(pid)`, polled: for this project's own long-lived workers, and for the guard below. A parent that dies leaves its
  children to another process, so `os.getppid()` changes.
- `sigterm_when_parent_dies()`, Linux's parent-death signal: for commands that must finish on their own terms, such as a training
  that saves a checkpoint at SIGTERM. The kernel sends the signal when the *thread* that started the command ends, so that
  thread must wait for it.

The guard is a small process between this one and another program that has child processes (a vLLM server):

    python -m hint_grpo.machine.processes PARENT_PID COMMAND...

It runs the command in a new session and ends the whole session when the parent has died or the guard itself receives SIGTERM.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

POLL_S = 0.2
GRACE_S = 10.0
"""How long a guarded command may take to shut down after SIGTERM, before SIGKILL."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def child_environment(
    changes: Mapping[str, str], *, without: Callable[[str], bool] = lambda name: False
) -> dict[str, str]:
    """This process's environment for a child that imports hint_grpo, from whatever working directory it is started.

    `without(name)` drops variables; `changes` are set last.
    """
    kept = {name: value for name, value in os.environ.items() if not without(name)}
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, **changes}


def is_parent(pid: int) -> bool:
    """Whether process `pid` is still this process's parent; False once it has died."""
    return os.getppid() == pid


def sigterm_when_parent_dies() -> None:
    """Call this in the child before the command runs (Popen's `preexec_fn`). Linux only; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def guarded(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` under the guard, as a child of this process."""
    return [sys.executable, "-m", "hint_grpo.machine.processes", str(os.getpid()), *command]


def free_port() -> int:
    """A TCP port that is free at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# ----------------------------------------------------------------------------------------------------
# The guard


def main(parent: int, command: list[str]) -> int:
    """Runs `command` until it ends, the parent dies or SIGTERM arrives; returns the command's exit code."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which shuts this process down cleanly
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None and is_parent(parent):
            time.sleep(POLL_S)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the shutdown
        end_group(process)
    return process.returncode


def end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to every process that the command started, SIGKILL to those left after the grace period."""
    deadline = time.monotonic() + GRACE_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break  # the whole group has ended
        while time.monotonic() < deadline and _group_lives(process):
            time.sleep(POLL_S / 4)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # reaps the leader, which would count as alive
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
