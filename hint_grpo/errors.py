"""A user's mistake: one clear line that says what to do, exit code 2 (train_model.py and test_model.py print it)."""

import os
import sys
from collections.abc import Callable

from hint_grpo import interrupts


class UserError(Exception):
    """The user can cure this; `str(error)` is the one line that says how."""


class RankError(UserError):
    """A UserError that one process of a distributed run may meet alone."""


def run_main(main: Callable[[], int | None]) -> None:
    """Runs `main` and exits. A UserError becomes `error: ...` on stderr and exit code 2, Ctrl-C one line and exit code 130.
    Anything else propagates."""
    with interrupts.handled():
        try:
            code = _run(main)
        except KeyboardInterrupt:
            interrupts.end("interrupted")  # inside the block: the echo of the same press may still come
    sys.exit(code or 0)


def _run(main: Callable[[], int | None]) -> int | None:
    try:
        return main()
    except UserError as error:
        # What all ranks meet is said once a node: another node may lack what the first one has.
        if isinstance(error, RankError) or os.environ.get("LOCAL_RANK", "0") == "0":
            rank = int(os.environ.get("RANK", "0"))
            where = f" (rank {rank})" if rank else ""
            print(f"error{where}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 2
    except Exception:
        if not interrupts.pressed():
            raise
        raise KeyboardInterrupt from None  # a consequence of Ctrl-C, such as a lost connection to another rank
