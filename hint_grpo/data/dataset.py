"""load_training_data: reads a training file into a `datasets.Dataset` on disk and a report of what was left out.

    JSON lines -> reader (llava_cot.py or own_records.py) -> length filter -> samples.arrow -> samples with an image

Columns: id, image (absolute path; opened later, one at a time), question, solution, reasoning_steps, source, extra (the
record's other fields as JSON).
The text work (readers, filters, steps, lengths) is done once and cached. Whether the images exist is checked
on every start, since unpacking a forgotten archive does not change the cached file.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute
from filelock import FileLock

from hint_grpo.data.jsonl import BadRecord, JsonRecord, UniqueIds, read_jsonl
from hint_grpo.data.llava_cot import GEOMETRY_PREFIXES, LlavaCotReader
from hint_grpo.data.own_records import OwnReader
from hint_grpo.data.paths import ImageRoot
from hint_grpo.data.samples import PUBLISHED_FILE, DataReport, Dropped, Filter, Outcome, Rules, Sample
from hint_grpo.machine.errors import UserError

# ----------------------------------------------------------------------------------------------------
# The samples file: an Arrow file, built once per input file and settings
#
#     CACHE/<key>/samples.arrow    memory-mapped: 100,000 samples need no memory
#     CACHE/<key>/report.json      the DataReport, printed again at every start

SAMPLES_FILE = "samples.arrow"
REPORT_FILE = "report.json"
BATCH_SIZE = 1000
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "image", "question", "solution")]
    + [("reasoning_steps", pa.list_(pa.string())), ("source", pa.string()), ("extra", pa.string())]
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


LLAVA_COT = "LLaVA-CoT-100k"
RESPLIT_FILE = PUBLISHED_FILE
RESPLIT_URL = f"https://github.com/hqhQAQ/Hint-GRPO/raw/main/data_files/{RESPLIT_FILE}"
DOWNLOAD_FILE = "train.jsonl"


def load_training_data(
    data_path: str | Path,
    dataset_name: str = LLAVA_COT,
    *,
    tokenizer: Any = None,
    keep_multiple_choice: bool = False,
    max_reasoning_tokens: int = 512,
    image_prefixes: Sequence[str] | None = None,
    cache_dir: str | Path | None = None,
    data_rules: Rules = "project",
    step_rules: Rules = "project",
    steps_file: str | Path | None = None,
) -> tuple[datasets.Dataset, DataReport]:
    """The usable samples of a training set and the report on all of them; raises UserError if no sample is usable.

    dataset_name     "LLaVA-CoT-100k" (the authors' re-split file if it is in `data_path`, else train.jsonl), or the name
                     of a .jsonl file, in `data_path` or absolute
    tokenizer        counts the tokens of each reasoning; None: the length is not checked
    image_prefixes   the part of LLaVA-CoT's records to use, by image folder; None: the geometry part for
                     LLaVA-CoT-100k and everything for other files; (): everything
    data_rules, step_rules   how records in LLaVA-CoT's schema are read ("released": as in the authors' code)
    steps_file       the file with LLaVA-CoT's records instead of the default (a path, or a name in `data_path`)
    """
    file = training_file(Path(data_path), dataset_name, steps_file)
    if image_prefixes is None:
        image_prefixes = GEOMETRY_PREFIXES if dataset_name == LLAVA_COT else ()
    # Everything that changes the samples; part of the cache key and of the report.
    settings = {
        "image_root": str(Path(data_path).resolve()),
        "image_prefixes": list(image_prefixes),
        "keep_multiple_choice": keep_multiple_choice,
        "max_reasoning_tokens": max_reasoning_tokens,
        "reasoning_checked": tokenizer is not None,
        "tokenizer": _tokenizer_identity(tokenizer),
        "steps_cut_here": RESPLIT_FILE if dataset_name == LLAVA_COT and file.name == DOWNLOAD_FILE else "",
        "data_rules": data_rules,
        "step_rules": step_rules,
    }
    build = partial(_build, file=file, settings=settings, tokenizer=tokenizer)
    folder = cached_folder(_cache_folder(cache_dir), cache_key(file, settings), build)
    report = DataReport.from_json(json.loads((folder / REPORT_FILE).read_text("utf-8")))
    dataset = datasets.Dataset.from_file(str(folder / SAMPLES_FILE))
    dataset = with_usable_images(dataset, report, ImageRoot(data_path))
    if not len(dataset):
        raise UserError(_why_empty(report))
    return dataset, report


def training_file(data_path: Path, dataset_name: str, steps_file: str | Path | None = None) -> Path:
    """The file to read; raises UserError with the fix if it does not exist."""
    if not data_path.is_dir():
        raise UserError(
            f"--data_path {data_path} is not a folder; give the one that holds {DOWNLOAD_FILE} and the images"
        )
    if steps_file is not None:
        return _steps_file(data_path, dataset_name, Path(steps_file))
    names = [RESPLIT_FILE, DOWNLOAD_FILE] if dataset_name == LLAVA_COT else [dataset_name]
    if not names[-1].endswith(".jsonl"):
        raise UserError(f"unknown --dataset_name {dataset_name!r}; use {LLAVA_COT} or the name of a .jsonl file")
    for name in names:
        if (data_path / name).is_file():
            return data_path / name
    raise UserError(
        f"{' or '.join(names)} not found in {data_path}; download Xkev/LLaVA-CoT-100k there, "
        "or name your own .jsonl file with --dataset_name"
    )


def _steps_file(data_path: Path, dataset_name: str, steps_file: Path) -> Path:
    """The file of --steps_file: a name in the data folder, or a path; raises UserError."""
    if dataset_name != LLAVA_COT:
        raise UserError(
            f"--steps_file goes with --dataset_name {LLAVA_COT}, not with {dataset_name}; give one of the two"
        )
    for path in (data_path / steps_file, steps_file):
        if path.is_file():
            return path
    raise UserError(
        f"--steps_file {steps_file} is neither in {data_path} nor a file; the authors publish theirs: "
        f"curl -L --fail -o {data_path / RESPLIT_FILE} {RESPLIT_URL}"
    )


def read_samples(
    records: Iterable[JsonRecord], reader: Callable[[JsonRecord], Iterator[Outcome]], report: DataReport
) -> Iterator[Outcome]:
    """Every question of the records, as a sample or a drop; records that the reader cannot use count as bad lines."""
    for record in records:
        report.records += 1
        try:
            yield from reader(record)
        except BadRecord as error:
            report.bad_lines.add(f"{record.source}: {error}")


def _build(folder: Path, file: Path, settings: dict[str, Any], tokenizer: Any) -> None:
    """Reads the file and writes samples and report into `folder` (on a cache miss)."""
    report, ids, root = DataReport(file=file.name, settings=settings), UniqueIds(), ImageRoot(settings["image_root"])
    keep = settings["keep_multiple_choice"]
    rules = settings["data_rules"], settings["step_rules"]
    llava = LlavaCotReader(root, ids, tuple(settings["image_prefixes"]), keep, *rules)
    own = OwnReader(root, ids, keep)
    # Every record chooses its reader by its schema. The whole chain is lazy: one batch of samples is in memory at a time.
    records = read_jsonl(file, report.bad_lines)
    stream = read_samples(records, lambda record: (llava if "conversations" in record.fields else own)(record), report)
    if tokenizer is not None:
        stream = without_long_reasoning(stream, tokenizer, settings["max_reasoning_tokens"])
    report.content_hash = write_samples(folder / SAMPLES_FILE, _kept(stream, report))
    report.duplicates = ids.duplicates
    (folder / REPORT_FILE).write_text(json.dumps(report.to_json(), ensure_ascii=False, indent=1), "utf-8")


def _kept(outcomes: Iterable[Outcome], report: DataReport) -> Iterator[Sample]:
    """The samples of the stream; the report counts all questions and the drops."""
    for outcome in outcomes:
        report.questions += 1
        if isinstance(outcome, Sample):
            yield outcome
        else:
            report.drop(outcome.reason, outcome.source)


def _tokenizer_identity(tokenizer: Any) -> str | None:
    """A hash of the tokenizer's whole definition if it has one (fast tokenizers), else of its name and size."""
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else f"{tokenizer.name_or_path} {len(tokenizer)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _cache_folder(cache_dir: str | Path | None) -> Path:
    return Path(cache_dir) if cache_dir is not None else Path(datasets.config.HF_DATASETS_CACHE) / "hint_grpo"


def _why_empty(report: DataReport) -> str:
    """One line: the filter that left out the most, and how to fix it."""
    counts = {name: places.count for name, places in report.filters.items()}
    if report.bad_lines.count:
        counts[f"bad line ({report.bad_lines.first[0]})"] = report.bad_lines.count
    if not counts:
        return f"{report.file} holds no questions; is the download complete?"
    most = max(counts, key=lambda name: counts[name])
    fixes = {
        Filter.IMAGE_MISSING: "join and unpack the images in the data folder: "
        "cat image.zip.part-* > image.zip && unzip image.zip",
        Filter.OTHER_IMAGES: f"--image_prefixes is {' '.join(report.settings['image_prefixes'])}",
        Filter.REASONING_TOO_LONG: "the reasoning must be shorter than "
        f"{report.settings['max_reasoning_tokens']} tokens",
    }
    fix = fixes.get(most)  # type: ignore[call-overload]
    reason = f"{most}; {fix}" if fix else most
    return f"no sample of {report.file} can be used: {counts[most]:,} left out because: {reason}"


# ----------------------------------------------------------------------------------------------------
# The length filter: drops samples whose reasoning is too long (512 tokens or more by default), by the model's tokenizer.
#
# Tokenising is the slow part of loading, so it runs in batches and only on texts that may reach the limit: a byte-level
# tokenizer never makes more tokens than the text has bytes (after Unicode normalisation, which may triple them).

CERTAINLY_TOO_LONG = 100
"""Characters per allowed token above which a text is too long without counting its tokens (prose has 3 to 5)."""


def without_long_reasoning(outcomes: Iterable[Outcome], tokenizer: Any, max_reasoning_tokens: int) -> Iterator[Outcome]:
    """The same stream in the same order; samples with `max_reasoning_tokens` or more become drops."""
    stream = iter(outcomes)
    while batch := list(islice(stream, BATCH_SIZE)):
        samples = [outcome for outcome in batch if isinstance(outcome, Sample)]
        long = _too_long(samples, tokenizer, max_reasoning_tokens)
        for outcome in batch:
            if isinstance(outcome, Sample) and outcome.id in long:
                yield Dropped(Filter.REASONING_TOO_LONG, outcome.source)
            else:
                yield outcome


def _too_long(samples: list[Sample], tokenizer: Any, limit: int) -> set[str]:
    """The ids of the samples whose reasoning has `limit` tokens or more."""
    texts = {sample.id: " ".join(sample.reasoning_steps) for sample in samples}
    long = {name for name, text in texts.items() if len(text) > CERTAINLY_TOO_LONG * limit}
    unsure = [name for name, text in texts.items() if name not in long and _may_reach(text, limit)]
    if unsure:
        tokens = tokenizer([texts[name] for name in unsure], add_special_tokens=False)["input_ids"]
        long.update(name for name, ids_T in zip(unsure, tokens, strict=True) if len(ids_T) >= limit)
    return long


def _may_reach(text: str, num_tokens: int) -> bool:
    """Whether the text has enough bytes to make that many tokens."""
    return len(text) >= num_tokens if text.isascii() else 3 * len(text.encode()) >= num_tokens
