"""Runs a command for as long as its parent lives: a server must not outlive a trainer that was killed.

    python -m hint_grpo.machine.processes PARENT_PID COMMAND...

The command gets a session of its own, so that all that it starts can be ended with it. A process killed with SIGKILL can
clean up nothing; this one, which the kill did not reach, notices that its parent is another one than before.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

POLL_S = 0.2
GRACE_S = 10.0


def end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to everything the command started, SIGKILL to what is left after the grace period."""
    deadline = time.monotonic() + GRACE_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break  # nothing of the group is left
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


def main(parent: int, command: list[str]) -> int:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process in order
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None and os.getppid() == parent:
            time.sleep(POLL_S)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the ending short
        end_group(process)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))


# ----------------------------------------------------------------------------------------------------
# Free TCP ports on this machine.


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
