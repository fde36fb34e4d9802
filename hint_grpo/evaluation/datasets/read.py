"""The questions of a --benchmark data set, with their pictures written as files.

A row has one of three outcomes. It becomes a question; or it cannot be used (a blank cell, an answer outside its options, a
broken picture), which ends the run unless --skip_bad is given, as with a question file; or it is not asked here (no picture,
a shifted copy), which is counted as left out.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Image, IterableDataset, load_dataset, load_from_disk

from hint_grpo.data.images import endings_of
from hint_grpo.data.jsonl import BadRecord, Occurrences, UniqueIds
from hint_grpo.data.paths import BadImage
from hint_grpo.data.questions import Question
from hint_grpo.evaluation.datasets.adapter import Adapter, Row, adapt_row, row_id
from hint_grpo.hub import check_network, stay_offline
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import replace_file

# Raised by `datasets` for a missing path, a broken file, a wrong split or an unreachable Hub.
OPENING_ERRORS = (OSError, ValueError)
FILES_SHOWN = 5  # in a message
NO_PICTURE = "rows without a picture"

# ----------------------------------------------------------------------------------------------------
# Questions


@dataclass
class DatasetQuestions:
    """The questions in the data set's order, the rows that cannot be used, and the number of rows left out, by reason."""

    questions: list[Question] = field(default_factory=list)
    bad_rows: Occurrences = field(default_factory=Occurrences)
    left_out: Counter[str] = field(default_factory=Counter)


def read_dataset(
    adapter: Adapter, data_path: Path | None, pictures: Path, *, limit: int | None = None, with_image: bool = True
) -> DatasetQuestions:
    """The first `limit` questions of a data set.

    `data_path` is a local copy, None reads from the Hub. Pictures are written to the folder `pictures`, unless `with_image` is
    False. Raises UserError if the data set cannot be read, or lacks a column.
    """
    found, ids = DatasetQuestions(), UniqueIds()
    for number, row in _rows_to_ask(adapter, dataset_rows(adapter, data_path), found.left_out):
        if limit is not None and len(found.questions) >= limit:
            break
        try:
            found.questions.append(_question(adapter, row, number, ids, pictures if with_image else None))
        except (BadRecord, BadImage) as error:
            found.bad_rows.add(f"{adapter.name} row {number}: {error}")
    return found


def _rows_to_ask(adapter: Adapter, rows: Iterator[Row], left_out: Counter[str]) -> Iterator[tuple[int, Row]]:
    """(number in the data set, row) of the rows that are asked; counts the others in `left_out` by reason."""
    for number, row in enumerate(rows):
        reason = adapter.leave_out(row) if adapter.leave_out else None
        if reason is None and not any((row[adapter.image] or {}).values()):
            reason = NO_PICTURE
        if reason is None:
            yield number, row
        else:
            left_out[reason] += 1


def _question(adapter: Adapter, row: Row, number: int, ids: UniqueIds, pictures: Path | None) -> Question:
    adapted = adapt_row(adapter, row)
    file = write_picture(row[adapter.image], pictures) if pictures else None
    source = f"{adapter.name} row {number}"
    return Question(
        id=ids.claim(row_id(adapter, row, number), source),
        image=str(file.resolve()) if file else "",
        image_path=f"{file.parent.name}/{file.name}" if file else "",
        question=adapted.question,
        ground_truth=adapted.ground_truth,
        source=source,
        judging=adapted.judging,
    )


# ----------------------------------------------------------------------------------------------------
# Rows: from a local copy (`save_to_disk`, or the Hub's parquet files), or from the Hub
#
# Columns are checked before a row is read: a missing column is one line that names it and the existing ones.


def dataset_rows(adapter: Adapter, data_path: Path | None) -> Iterator[Row]:
    """The rows in order, with only the adapter's columns; pictures stay encoded.

    Raises UserError before the first row if the data set cannot be opened, or lacks a column.
    """
    where = str(data_path or f"{adapter.hub_id} (split {adapter.split})")
    try:
        dataset = _open(adapter, data_path)
        _check_columns(adapter, dataset, where)
        dataset = dataset.select_columns(list(adapter.columns))
        if isinstance(dataset.features[adapter.image], Image):
            dataset = dataset.cast_column(adapter.image, Image(decode=False))
    except OPENING_ERRORS as error:
        raise UserError(
            f"--benchmark {adapter.name}: {where} cannot be read: {error}; {_how_to_get(adapter)}"
        ) from error
    return _rows_until_damage(adapter, dataset, where)


def _rows_until_damage(adapter: Adapter, dataset: Any, where: str) -> Iterator[Row]:
    try:
        yield from dataset
    except OPENING_ERRORS as error:  # a file that is damaged after its beginning
        raise UserError(f"--benchmark {adapter.name}: {where} cannot be read to its end: {error}") from error


def _open(adapter: Adapter, data_path: Path | None) -> Dataset | IterableDataset:
    """From the Hub, a folder of `save_to_disk`, or parquet files, which are streamed: a limit reads no more than it needs."""
    if data_path is None:
        return _from_hub(adapter)
    if not data_path.exists():
        raise UserError(f"--data_path {data_path} does not exist; {_how_to_get(adapter)}")
    if data_path.is_dir() and any((data_path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return _saved(adapter, data_path)
    files = [str(file) for file in parquet_files(adapter, data_path)]
    return load_dataset("parquet", data_files={adapter.split: files}, split=adapter.split, streaming=True)


def _from_hub(adapter: Adapter) -> Dataset:
    try:
        check_network(f"--benchmark {adapter.name} is read from the Hub without --data_path")
    except UserError as error:
        stay_offline()
        try:
            return load_dataset(adapter.hub_id, adapter.config, split=adapter.split)  # cached
        except OPENING_ERRORS:
            raise UserError(f"{error}; {_how_to_get(adapter)}") from None
    return load_dataset(adapter.hub_id, adapter.config, split=adapter.split)


def _saved(adapter: Adapter, folder: Path) -> Dataset:
    dataset = load_from_disk(folder)
    if isinstance(dataset, DatasetDict):
        if adapter.split not in dataset:
            raise UserError(f"--data_path {folder} has no split {adapter.split}; it has {', '.join(dataset)}")
        return dataset[adapter.split]
    return dataset


def parquet_files(adapter: Adapter, copy: Path) -> list[Path]:
    """The files of the adapter's split: en/dev-00000-of-00001.parquet, testmini.parquet, en/dev/0000.parquet, ..

    If a copy holds a single parquet file, that is used (MMStar's is called mmstar.parquet). Raises UserError if none fits.
    """
    if copy.is_file():
        return [copy]
    found = sorted(copy.rglob("*.parquet"))
    if not found:
        raise UserError(f"--data_path {copy} holds neither parquet files nor a saved data set; {_how_to_get(adapter)}")
    in_config = [file for file in found if adapter.config in file.relative_to(copy).parts[:-1]]
    files = [file for file in in_config or found if _is_of_split(file, copy, adapter.split)]
    if files or len(found) == 1:
        return files or found
    names = ", ".join(str(file.relative_to(copy)) for file in found[:FILES_SHOWN])
    raise UserError(f"--data_path {copy} holds no file of the split {adapter.split}, but {names}")


def _is_of_split(file: Path, copy: Path, split: str) -> bool:
    return file.stem == split or file.stem.startswith(f"{split}-") or split in file.relative_to(copy).parts[:-1]


def _check_columns(adapter: Adapter, dataset: Dataset | IterableDataset, where: str) -> None:
    present = dataset.features or {}
    missing = [column for column in adapter.columns if column not in present]
    if missing:
        raise UserError(
            f"--benchmark {adapter.name}: {where} has no column {', '.join(missing)}; its columns are {', '.join(present)}"
        )
    picture = present[adapter.image]
    if not isinstance(picture, Image) and not (isinstance(picture, dict) and "bytes" in picture):
        raise UserError(
            f"--benchmark {adapter.name}: column {adapter.image} of {where} holds {picture}, not pictures; "
            f"its columns are {', '.join(present)}"
        )


def _how_to_get(adapter: Adapter) -> str:
    return f"get a copy: hf download {adapter.hub_id} --repo-type dataset --local-dir DIR, then --data_path DIR"


# ----------------------------------------------------------------------------------------------------
# Pictures: the encoded bytes unchanged, in files named by their content, with the ending of their format
#
# Everything after this module (cache key, decoding processes, checks, resuming) treats them like GeoQA's files. A picture that
# several rows share is written once, and an existing one is not written again.


def write_picture(cell: Any, folder: Path) -> Path:
    """Writes a picture cell {"bytes": .., "path": ..} to `folder`, unless it is there, and returns its file.

    Raises BadImage if the cell holds no bytes.
    """
    content = cell.get("bytes")
    if content is None:
        raise BadImage(
            "the data set names a picture file but does not contain it; get a copy that includes the pictures"
        )
    named = Path(cell.get("path") or "").suffix.lower()
    endings = endings_of(content) or ((named,) if re.fullmatch(r"\.[a-z0-9]{1,5}", named) else (".img",))
    suffix = named if named in endings else endings[0]
    file = folder / f"{hashlib.sha256(content).hexdigest()[:24]}{suffix}"
    if not file.is_file() or file.stat().st_size != len(content):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, content, durable=False)
    return file
