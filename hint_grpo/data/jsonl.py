"""Reads JSON lines as real files have them: byte order marks, CRLF, blank lines, broken lines, duplicate ids.

Both training records and evaluation questions are read here. A bad line never stops a run: it is skipped, and recorded
as file:line with the reason. A file that is not JSON lines at all is a UserError with the command that converts it.
"""

import json
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from hint_grpo.machine.errors import UserError

SHOWN = 5
"""Places that Occurrences keeps and prints."""
UTF8_BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 2**20
"""Bytes (1 MiB). A longer line is not a text record, and parsing it would need minutes and gigabytes; it is never held in
memory."""

# Files that are not JSON lines, recognised by their first bytes: what they are, and how to convert them.
OTHER_FILES = {
    re.compile(rb"\xff\xfe|\xfe\xff"): "is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE",
    re.compile(rb"\x1f\x8b"): "is compressed by gzip; unpack it: gunzip -c FILE > NEW_FILE",
    re.compile(rb"\x28\xb5\x2f\xfd"): "is compressed by zstd; unpack it: zstd -dc FILE > NEW_FILE",
    re.compile(rb"\xfd7zXZ\x00"): "is compressed by xz; unpack it: xz -dc FILE > NEW_FILE",
    re.compile(rb"BZh[1-9]1AY"): "is compressed by bzip2; unpack it: bunzip2 -c FILE > NEW_FILE",
    re.compile(rb"PK\x03\x04"): "is a zip archive; unpack it: unzip FILE",
    re.compile(rb"PAR1"): "is a parquet file; convert it to JSON lines, for example with pandas",
    re.compile(rb"version https://git-lfs"): "is a Git LFS pointer, not the file itself: run `git lfs pull`",
    re.compile(rb"/annex/objects/"): "is a git-annex pointer, not the file itself: run `git annex get`",
    re.compile(rb"\s*<(?:!doctype|html)", re.IGNORECASE): "is an HTML page: a download that failed",
    re.compile(
        rb"(?:\xef\xbb\xbf)?\s*\[\s*\{"
    ): "is one JSON list, not JSON lines; convert it: jq -c '.[]' FILE > NEW_FILE",
}


# ----------------------------------------------------------------------------------------------------
# What readers share: counted occurrences, unique ids, records.


@dataclass
class Occurrences:
    """How often something occurred, and where for the first few times (keeping every place would cost memory)."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(text)

    def extend(self, other: "Occurrences") -> None:
        self.count += other.count
        self.first = [*self.first, *other.first][:SHOWN]

    def lines(self, indent: str = "    ") -> list[str]:
        """The places, one per line, and how many more there are."""
        more = self.count - len(self.first)
        return [f"{indent}{text}" for text in [*self.first, *([f"and {more:,} more"] if more else [])]]


class UniqueIds:
    """Gives every sample a unique id; a repeated id is counted and gets a suffix."""

    def __init__(self) -> None:
        self.duplicates = Occurrences()
        self._uses: dict[str, int] = {}

    def claim(self, wanted: str, source: str) -> str:
        """`wanted`, or `wanted~2` and so on if it was used before; `source` (file:line) is kept for the report."""
        unique, uses = wanted, self._uses.get(wanted, 1)
        if wanted in self._uses:
            self.duplicates.add(f"{source}: id {wanted!r} again")
        while unique in self._uses:
            uses += 1
            unique = f"{wanted}~{uses}"
        self._uses[wanted] = uses
        self._uses.setdefault(unique, 1)
        return unique


@dataclass(frozen=True, slots=True)
class JsonRecord:
    """One JSON object of a file."""

    source: str
    """Where it was read, as file:line."""
    fields: dict[str, Any]


class BadRecord(ValueError):
    """A record that cannot be used; `str(error)` is the reason."""


class NumberText(str):
    """A number as it is written in the file: text that `other_fields` makes a number again."""


def text_field(fields: dict[str, Any], name: str) -> str:
    """A field that must hold text; raises BadRecord."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadRecord(f'"{name}" is {"missing" if value is None else "not text"}')
    return value


def other_fields(fields: dict[str, Any], known: Collection[str]) -> str:
    """A record's fields that are not `known`, as a JSON object; "" if there are none."""
    others = {name: _with_numbers(value) for name, value in fields.items() if name not in known}
    return json.dumps(others, ensure_ascii=False) if others else ""


def _with_numbers(value: Any) -> Any:
    """The value with numbers instead of their texts; one that Python does not convert (5,000 digits) stays text."""
    if isinstance(value, list):
        return [_with_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: _with_numbers(one) for name, one in value.items()}
    if not isinstance(value, NumberText):
        return value
    try:
        number = float(value) if set(value) & set(".eE") else int(value)
    except ValueError:
        return str(value)
    return str(value) if isinstance(number, float) and math.isinf(number) else number


# ----------------------------------------------------------------------------------------------------
# Reading a file.


def _refuse_constant(name: str) -> NoReturn:
    raise BadRecord(f"{name} is not JSON")


def parse_line(line: bytes) -> dict[str, Any]:
    """The fields of one line's record; raises BadRecord.

    Numbers stay text as written: an integer answer becomes its decimal string, 2.50 keeps its zero, and 200,000 digits
    are no problem.
    """
    try:
        fields = json.loads(
            line.decode("utf-8"), parse_int=NumberText, parse_float=NumberText, parse_constant=_refuse_constant
        )
        if b"\\ud" in line.lower():  # half of a surrogate pair is legal JSON, but not legal text
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadRecord(f"not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise BadRecord(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise BadRecord("not usable JSON (nested too deeply)") from error
    if not isinstance(fields, dict):
        raise BadRecord("not a JSON object")
    return fields


def read_jsonl(path: Path, bad_lines: Occurrences) -> Iterator[JsonRecord]:
    """The records of a file in order; bad lines are added to `bad_lines`. Raises UserError as `open_lines` does."""
    with open_lines(path) as file:
        for number, raw in enumerate(_bounded_lines(file), start=1):
            if raw is None:
                bad_lines.add(f"{path.name}:{number}: longer than {LONGEST_LINE // 2**20} MiB")
                continue
            line = raw.removeprefix(UTF8_BOM).strip() if number == 1 else raw.strip()
            if not line:
                continue
            source = f"{path.name}:{number}"
            try:
                yield JsonRecord(source, parse_line(line))
            except BadRecord as error:
                bad_lines.add(f"{source}: {error}")


def _bounded_lines(file: BufferedReader) -> Iterator[bytes | None]:
    """The lines of a file; None for one of more than LONGEST_LINE bytes, which is skipped piece by piece."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) <= LONGEST_LINE:
            yield line
            continue
        # Too long: read on to the end of the line and drop it.
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
        yield None


def open_lines(path: Path) -> BufferedReader:
    """The file opened in binary; raises UserError if it is missing, a folder, or not a JSON lines file."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    head = file.peek(256)[:256]
    for mark, what in OTHER_FILES.items():
        if mark.match(head):
            file.close()
            raise UserError(f"{path} {what}")
    return file
