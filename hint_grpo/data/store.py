"""Samples in an Arrow file: written a thousand at a time, read back memory-mapped."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute

from hint_grpo.data.filters import Filter
from hint_grpo.data.paths import ImageRoot
from hint_grpo.data.report import DataReport
from hint_grpo.data.sample import Sample

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
