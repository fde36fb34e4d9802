"""JSON lines as they are found in the world: BOM, CRLF, blank lines, broken lines, duplicate ids.

Training records and evaluation questions are both read here. A bad line never stops a run: it is noted as file:line
with the reason, and skipped.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from hint_grpo.errors import UserError

SHOWN = 5
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass
class Noted:
    """How often something was seen, and the first few places (all of them would not be flat memory)."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(text)


@dataclass(frozen=True, slots=True)
class Row:
    """One record and where it stands."""

    source: str
    record: dict[str, Any]


class BadRecord(ValueError):
    """A line that cannot be used as it stands; `str(error)` says what is wrong with it."""


def _refuse_constant(name: str) -> NoReturn:
    raise BadRecord(f"{name} is not JSON")


def parse_line(line: bytes) -> dict[str, Any]:
    """The record of one line; raises BadRecord.

    Numbers stay the text they were written as: an integer answer becomes its decimal string, 2.50 keeps its zero, and
    200,000 digits are no problem.
    """
    try:
        record = json.loads(line.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=_refuse_constant)
        if b"\\ud" in line.lower():  # half of a surrogate pair is legal JSON, but not legal text
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadRecord(f"not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise BadRecord(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise BadRecord("not usable JSON (nested too deeply)") from error
    if not isinstance(record, dict):
        raise BadRecord("not a JSON object")
    return record


def read_jsonl(path: Path, bad_lines: Noted) -> Iterator[Row]:
    """The records of a file in order; bad lines are added to `bad_lines`."""
    with open_lines(path) as lines:
        for number, raw in enumerate(lines, start=1):
            line = raw.removeprefix(UTF8_BOM).strip() if number == 1 else raw.strip()
            if not line:
                continue
            source = f"{path.name}:{number}"
            try:
                yield Row(source, parse_line(line))
            except BadRecord as error:
                bad_lines.add(f"{source}: {error}")


def open_lines(path: Path) -> BufferedReader:
    """The file opened in binary; a UserError where it is missing, a folder, or UTF-16."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if file.peek(2)[:2] in UTF16_BOMS:
        file.close()
        raise UserError(f"{path} is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE")
    return file


def text_field(record: dict[str, Any], name: str) -> str:
    """A field that must hold text; raises BadRecord."""
    value = record.get(name)
    if not isinstance(value, str):
        raise BadRecord(f'"{name}" is {"missing" if value is None else "not text"}')
    return value


class UniqueIds:
    """Gives every sample an id of its own; a second use of an id is noted and gets a suffix."""

    def __init__(self) -> None:
        self.duplicates = Noted()
        self._uses: dict[str, int] = {}

    def claim(self, wanted: str, source: str) -> str:
        unique, uses = wanted, self._uses.get(wanted, 1)
        if wanted in self._uses:
            self.duplicates.add(f"{source}: id {wanted!r} again")
        while unique in self._uses:
            uses += 1
            unique = f"{wanted}~{uses}"
        self._uses[wanted] = uses
        self._uses.setdefault(unique, 1)
        return unique
