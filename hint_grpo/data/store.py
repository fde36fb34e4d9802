"""Samples on disk: an Arrow file, built once per input file and settings, and safe when several ranks start at once.

    CACHE/<key>/samples.arrow    memory-mapped: 100,000 samples need no memory
    CACHE/<key>/report.json      the DataReport, printed again at every start

dataset.py fills a cache folder with `write_samples` and reads it back; `with_usable_images` then checks, at every start,
that the images exist.
"""

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

# ----------------------------------------------------------------------------------------------------
# The samples file.

SAMPLES_FILE = "samples.arrow"
REPORT_FILE = "report.json"
BATCH_SIZE = 1000
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "image", "question", "solution")]
    + [("reasoning_steps", pa.list_(pa.string())), ("source", pa.string())]
)


def write_samples(path: Path, samples: Iterator[Sample]) -> str:
    """Writes the file in batches; returns a hash over the samples' text, in order.

    The image path is not hashed, so that a data set that was moved stays the same data set.
    """
    digest = hashlib.sha256()
    with pa.ipc.new_stream(str(path), SCHEMA) as writer:
        while batch := list(islice(samples, BATCH_SIZE)):
            columns = {name: [getattr(sample, name) for sample in batch] for name in SCHEMA.names}
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            for sample in batch:
                digest.update(repr((sample.id, sample.question, sample.solution, sample.reasoning_steps)).encode())
    return digest.hexdigest()


def with_usable_images(dataset: datasets.Dataset, report: DataReport, root: ImageRoot) -> datasets.Dataset:
    """The data set without samples whose image is refused, missing or empty; completes the report.

    Looks at the files without opening them (see `ImageRoot.problem`); the preflight opens them.
    """
    reasons = {reason.value: reason for reason in Filter}
    usable: list[int] = []
    for start in range(0, len(dataset), BATCH_SIZE):
        rows = dataset.data.slice(start, BATCH_SIZE)
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
# The cache. Its key covers the file (path, size, modification time), the settings and the code that reads it.
#
# A folder is built under a temporary name and then renamed, so that a half-written one is never read; the lock only keeps
# ranks from doing the same work twice.


@cache
def code_version() -> str:
    """A hash over the modules of hint_grpo.data, and of hint_grpo.scoring, which the readers use for option letters and
    LaTeX: changing any of them invalidates every cached result."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for folder in ("data", "scoring"):
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def cache_key(file: Path, settings: dict[str, Any]) -> str:
    """The name of the cache folder for a file read with these settings."""
    status = file.stat()
    parts = [str(file.resolve()), status.st_size, status.st_mtime_ns, settings, code_version()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached_folder(cache_dir: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of a key; `build(folder)` fills it if it does not exist. Raises UserError if it cannot be written."""
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
        # On network file systems without working locks another rank may have been first: its folder is equally good.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
