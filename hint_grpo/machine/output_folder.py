"""The check of `--output_dir` that training and evaluation share. Light to import: it runs before torch loads."""

import tempfile
from pathlib import Path

from hint_grpo.machine.errors import UserError


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
