"""Files that survive kills and other processes: atomic writes, one run per output folder, and the check of --output_dir."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from hint_grpo.machine.errors import UserError

LOCK_FILE = ".lock"

# ----------------------------------------------------------------------------------------------------
# Atomic writes


def replace_file(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Writes a file that is, at every moment, either the old one or the whole new one (text as UTF-8 with "\\n").

    `durable` waits until the content has reached the disk, so that this holds through a power failure too. Processes may write
    the same path at the same time: the last one wins.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)


# ----------------------------------------------------------------------------------------------------
# What an earlier run left


def first_free(name: Callable[[int], Path]) -> Path:
    """The first of `name(1)`, `name(2)`, ... that does not exist yet."""
    return next(path for number in count(1) if not (path := name(number)).exists())


# ----------------------------------------------------------------------------------------------------
# One run per output folder: two would write to the same files.
# The kernel holds the lock (flock) and releases it when the process ends, even after SIGKILL, so no stale lock has to be deleted.


@contextmanager
def only_run_in(output: Path) -> Iterator[None]:
    """Holds the folder's lock for the time of the block. UserError if it is held already or the folder is not writable.

    Folders that are created for it and in which nothing is written are removed again.
    """
    created = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        file = _open_locked(output / LOCK_FILE)
    except BlockingIOError:
        raise UserError(f"another run is writing to {output}: wait for it, or choose another --output_dir") from None
    except OSError as error:
        raise UserError(f"--output_dir {output} cannot be written to: {error.strerror}") from None
    with file:
        _close_in_children(file)
        try:
            yield
        finally:
            # Removed before it is released: a process that has opened it sees that the file was removed, and opens the new one.
            (output / LOCK_FILE).unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                for folder in created:
                    folder.rmdir()


def _open_locked(path: Path) -> IO[str]:
    """Opens and locks the file, and creates its folder; BlockingIOError if it is locked already."""
    import fcntl  # not on Windows, where the other modules still import

    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("w")
        except FileNotFoundError:  # another run removed the folder, in which it had written nothing
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:  # a network file system that is mounted without locks
            print(f"warning: {path.parent} is not protected against a second run: {error.strerror}", file=sys.stderr)
            return file
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # its holder removed it between our open and our lock


def _close_in_children(file: IO[str]) -> None:
    """A forked child shares the lock and would hold it after this process was killed."""
    os.register_at_fork(after_in_child=file.close)


# ----------------------------------------------------------------------------------------------------
# The check of --output_dir


def check_output(output_dir: str | None) -> None:
    """UserError unless `--output_dir` can be created and written to. Nothing is left on disk."""
    path = Path(output_dir or "trainer_output").expanduser().absolute()
    existing = next(one for one in (path, *path.parents) if one.exists() or one.is_symlink())
    if not existing.is_dir():
        raise UserError(f"--output_dir {output_dir}: {existing} is a file; give a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"--output_dir {output_dir}: cannot write to {existing} ({error.strerror})") from error
