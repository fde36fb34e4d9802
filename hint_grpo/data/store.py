"""Samples in an Arrow file: written a thousand at a time, read back memory-mapped."""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute
from filelock import FileLock

from hint_grpo.data.paths import ImageRoot
from hint_grpo.data.report import DataReport
from hint_grpo.data.samples import Filter, Sample
from hint_grpo.machine.errors import UserError

AT_ONCE = 1000
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "image", "question", "solution")]
    + [("reasoning_steps", pa.list_(pa.string())), ("source", pa.string())]
)


def write_samples(path: Path, samples: Iterator[Sample]) -> str:
    """Writes the file; returns a hash over the samples' text, in order.

    The image's path is not hashed: a data set that was moved is the same data set.
    """
    digest = hashlib.sha256()
    with pa.ipc.new_stream(str(path), SCHEMA) as writer:
        while batch := list(islice(samples, AT_ONCE)):
            columns = {name: [getattr(sample, name) for sample in batch] for name in SCHEMA.names}
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            for sample in batch:
                digest.update(repr((sample.id, sample.question, sample.solution, sample.reasoning_steps)).encode())
    return digest.hexdigest()


def with_usable_images(dataset: datasets.Dataset, report: DataReport, root: ImageRoot) -> datasets.Dataset:
    """The data set without samples whose image is refused, missing or empty; completes the report."""
    reasons = {reason.value: reason for reason in Filter}
    usable: list[int] = []
    for start in range(0, len(dataset), AT_ONCE):
        rows = dataset.data.slice(start, AT_ONCE)
        images, sources = rows.column("image").to_pylist(), rows.column("source").to_pylist()
        for index, (image, source) in enumerate(zip(images, sources, strict=True), start=start):
            if problem := root.problem(image):
                report.drop(reasons[problem], source)
            else:
                usable.append(index)
    report.samples = len(usable)
    lengths = pa.compute.list_value_length(dataset.data.column("reasoning_steps"))
    report.samples_by_steps = dict(sorted(Counter(lengths.take(pa.array(usable, pa.int64())).to_pylist()).items()))
    return dataset if len(usable) == len(dataset) else dataset.select(usable)


# ----------------------------------------------------------------------------------------------------
# Samples as an Arrow file on disk, built once per input and settings, safe when several ranks start at once.
#
#     CACHE/<key>/samples.arrow    memory-mapped: 100,000 samples cost no memory
#     CACHE/<key>/report.json      printed again on every start
#
# The key covers the file (path, size, time of change), the settings, and the code that reads it. A folder is built under
# a name of its own and then renamed, so that a half-written one is never read; the lock only keeps ranks from doing the
# work twice.

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
