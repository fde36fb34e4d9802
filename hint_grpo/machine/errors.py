"""Errors that a user can fix: one clear line with the fix, exit code 2 (printed by train_model.py and test_model.py)."""

import difflib
import os
import select
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from hint_grpo.machine import interrupts

READER_GONE = 141  # a shell's exit code for a process that SIGPIPE ended


class UserError(Exception):
    """An error that the user can fix; `str(error)` is the one line that says how."""


class RankError(UserError):
    """A UserError that may occur in a single process of a distributed run."""


def run_main(main: Callable[[], int | None]) -> None:
    """Runs `main` and exits. A UserError becomes `error: ...` on stderr and exit code 2, Ctrl-C one line and exit code 130.
    Anything else propagates."""
    with interrupts.handled():
        try:
            code = _run(main)
            sys.stdout.flush()  # here, and not at the end of the interpreter, which would print a traceback
        except BrokenPipeError:
            if not _reader_is_gone():
                raise
            code = READER_GONE
        except KeyboardInterrupt:
            interrupts.end("interrupted")  # inside the block: the echo of the same press may still come
    sys.exit(code or 0)


def _reader_is_gone() -> bool:
    """Whether nobody reads stdout any more, as after `--help | head`. If so, what is still to be written is dropped."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    gone = any(events & select.POLLERR for _, events in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _run(main: Callable[[], int | None]) -> int | None:
    try:
        return main()
    except UserError as error:
        # An error common to all ranks is printed once per node: another node may lack what the first one has.
        if isinstance(error, RankError) or os.environ.get("LOCAL_RANK", "0") == "0":
            rank = int(os.environ.get("RANK", "0"))
            where = f" (rank {rank})" if rank else ""
            print(f"error{where}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 2
    except Exception:
        if not interrupts.pressed():
            raise
        raise KeyboardInterrupt from None  # a consequence of Ctrl-C, such as a lost connection to another rank


def program(script: str, command: str) -> str:
    """What the user called: the installed `command`, or else `script`, for messages that say how to call it again."""
    return command if Path(sys.argv[0]).name == command else script


# ----------------------------------------------------------------------------------------------------
# The nearest known name to one that is not known: for flags, YAML keys and choices.


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A name that `name` abbreviates, resembles, or is a part of; None if there is none."""
    names = sorted(known)
    name = name.lower().replace("-", "_")
    begun = [one for one in names if one.startswith(name)]
    if name and begun:
        return min(begun, key=len)
    alike = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if alike:
        return alike[0]
    holding = [one for one in names if len(name) > 3 and name in one]
    return min(holding, key=len) if holding else None


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean --num_groups?`, or nothing."""
    found = nearest(name, known)
    return f"; did you mean {prefix}{found}?" if found else ""
