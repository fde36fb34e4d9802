"""Samples as an Arrow file on disk, built once per input and settings, safe when several ranks start at once.

    CACHE/<key>/samples.arrow    memory-mapped: 100,000 samples cost no memory
    CACHE/<key>/report.json      printed again on every start

The key covers the file (path, size, time of change), the settings, and the code that reads it. A folder is built under
a name of its own and then renamed, so that a half-written one is never read; the lock only keeps ranks from doing the
work twice.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from hint_grpo.errors import UserError

SAMPLES_FILE = "samples.arrow"
REPORT_FILE = "report.json"


@cache
def code_version() -> str:
    """A hash over the modules of this package: a change of any reader makes every cached result stale."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cache_key(file: Path, settings: dict[str, Any]) -> str:
    """The name of the cache folder for a file read under these settings."""
    status = file.stat()
    parts = [str(file.resolve()), status.st_size, status.st_mtime_ns, settings, code_version()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached_folder(cache_dir: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of a key; `build(folder)` fills it where it does not exist yet."""
    folder = cache_dir / key
    if folder.is_dir():
        return folder
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f"{key}.lock"):
            if not folder.is_dir():
                _build_and_rename(cache_dir, folder, build)
    except OSError as error:
        raise UserError(
            f"cannot write the data cache in {cache_dir}: {error.strerror or error}; "
            "set HF_DATASETS_CACHE to another folder"
        ) from error
    return folder


def _build_and_rename(cache_dir: Path, folder: Path, build: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache_dir))
    try:
        build(unfinished)
        os.rename(unfinished, folder)
    except OSError:
        # Where locks do not work (some network file systems), another rank may have been first: its folder is as good.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
