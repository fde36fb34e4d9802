"""One run per output folder at a time: two would write into the same results."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hint_grpo.errors import UserError

LOCK_FILE = ".lock"


@contextmanager
def only_run_in(output: Path) -> Iterator[None]:
    """Holds the folder's lock; the system gives it back when the process ends, however it ends."""
    import fcntl  # not on Windows, where the other modules still import

    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / LOCK_FILE).open("w")
    except OSError as error:
        raise UserError(f"--output_dir {output} cannot be written to: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run is writing to {output}: wait for it, or choose another --output_dir"
            ) from None
        yield
