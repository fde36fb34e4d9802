"""A user's mistake: one clear line that says what to do, exit code 2 (train_model.py and test_model.py print it)."""

import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """The user can cure this; `str(error)` is the one line that says how."""


class RankError(UserError):
    """A UserError that one process of a distributed run may meet alone."""


def run_main(main: Callable[[], int | None]) -> None:
    """Runs `main` and exits; a UserError becomes `error: ...` on stderr and exit code 2. Anything else propagates."""
    try:
        code = main()
    except UserError as error:
        # What all ranks meet is said once a node: another node may lack what the first one has.
        if isinstance(error, RankError) or os.environ.get("LOCAL_RANK", "0") == "0":
            rank = int(os.environ.get("RANK", "0"))
            where = f" (rank {rank})" if rank else ""
            print(f"error{where}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        code = 2
    sys.exit(code or 0)
