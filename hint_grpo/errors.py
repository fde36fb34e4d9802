"""A user's mistake: one clear line that says what to do, exit code 2 (train_model.py and test_model.py print it)."""

import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """The user can cure this; `str(error)` is the one line that says how."""


def run_main(main: Callable[[], int | None]) -> None:
    """Runs `main` and exits; a UserError becomes `error: ...` on stderr and exit code 2. Anything else propagates."""
    try:
        code = main()
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":  # once, not once per rank
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        code = 2
    sys.exit(code or 0)
