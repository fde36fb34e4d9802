"""Lines as they are found: marks at the start of a file, line ends, broken lines, repeated ids."""

import bz2
import gzip
import lzma
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from hint_grpo.data.jsonl import LONGEST_LINE, SHOWN, BadRecord, Occurrences, UniqueIds, parse_line, read_jsonl
from hint_grpo.machine.errors import UserError


def read(file: Path) -> tuple[list[tuple[str, dict]], Occurrences]:
    bad = Occurrences()
    return [(record.source, record.fields) for record in read_jsonl(file, bad)], bad


def test_byte_order_mark_crlf_and_blank_lines_load(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes('\ufeff{"a": "1"}\r\n\r\n  \r\n{"a": "°"}\r\n{"a": "end without a line break"}'.encode())
    rows, bad = read(file)
    assert rows == [
        ("train.jsonl:1", {"a": "1"}),
        ("train.jsonl:4", {"a": "°"}),
        ("train.jsonl:5", {"a": "end without a line break"}),
    ]
    assert bad.count == 0


def test_bad_lines_are_named_and_skipped(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    lines = [
        b'{"a": 1}',
        b'{"a": 1',
        b"[1, 2]",
        b'{"a": "\xff\xfe"}',
        b'{"a": "\\ud800"}',
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"a": 2}',
    ]
    file.write_bytes(b"\n".join(lines))
    rows, bad = read(file)
    assert [source for source, _ in rows] == ["train.jsonl:1", "train.jsonl:8"]
    assert bad.count == 6
    assert len(bad.first) == SHOWN
    assert [text.split(": ")[0] for text in bad.first] == [f"train.jsonl:{number}" for number in range(2, 7)]
    assert "not JSON" in bad.first[0]
    assert "not a JSON object" in bad.first[1]
    assert "not UTF-8" in bad.first[2]
    assert "not UTF-8" in bad.first[3]


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"a": "one\u2028two\u0085three"}\n', "utf-8")
    rows, bad = read(file)
    assert rows == [("train.jsonl:1", {"a": "one\u2028two\u0085three"})]
    assert bad.count == 0


def test_numbers_stay_the_text_they_were_written_as() -> None:
    digits = "9" * 5000  # more than Python turns into an int
    assert parse_line(b'{"a": 4, "b": 2.50, "c": -0, "d": %s}' % digits.encode()) == {
        "a": "4",
        "b": "2.50",
        "c": "-0",
        "d": digits,
    }


def test_an_escaped_surrogate_pair_is_a_character() -> None:
    assert parse_line(rb'{"a": "\ud83d\ude00"}') == {"a": "😀"}
    with pytest.raises(BadRecord, match="UTF-8"):
        parse_line(rb'{"a": ["\uD83D"]}')


def test_a_line_that_no_record_has_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    too_long_by_one = b'{"a": "%s"}' % (b"x" * (LONGEST_LINE - 9))
    with file.open("wb") as out:
        out.write(b'{"a": "1"}\n' + too_long_by_one + b"\n")
        for _ in range(64):
            out.write(b"x" * 2**20)
        out.write(b'\n{"a": "2"}\n' + b"y" * (LONGEST_LINE + 1))
    bad = Occurrences()
    tracemalloc.start()
    sources = [row.source for row in read_jsonl(file, bad)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sources == ["train.jsonl:1", "train.jsonl:4"]
    assert bad.first == [f"train.jsonl:{line}: longer than 1 MiB" for line in (2, 3, 5)]
    assert peak < 8 * 2**20  # the file has 67 MiB


def test_a_line_of_exactly_the_longest_length_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b'{"a": "%s"}\n{"a": "2"}\n' % (b"x" * (LONGEST_LINE - 10)))
    rows, bad = read(file)
    assert [source for source, _ in rows] == ["train.jsonl:1", "train.jsonl:2"]
    assert bad.count == 0


RECORDS = b'{"a": "1"}\n' * 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(RECORDS, mtime=0), "compressed by gzip.*gunzip -c"),
        (bz2.compress(RECORDS), "compressed by bzip2"),
        (lzma.compress(RECORDS), "compressed by xz"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s10--0123.jsonl\n", "git annex get"),
        (b"PAR1\x15\x04", "parquet"),
        (b"<!DOCTYPE html>\n<html>", "HTML page: a download that failed"),
        (b'[\n  {"a": 1},\n  {"a": 2}\n]\n', "one JSON list.*jq -c"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(file)


def test_a_zip_archive_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train.jsonl", RECORDS)
    with pytest.raises(UserError, match="zip archive"):
        read(file)


def test_a_list_of_places_says_how_many_more_there_are() -> None:
    places = Occurrences()
    for line in range(1, 6):
        places.add(f"f:{line}")
    assert places.lines("  ") == [f"  f:{line}" for line in range(1, 6)]
    for line in range(6, 9):
        places.add(f"f:{line}")
    assert places.lines("  ") == [*(f"  f:{line}" for line in range(1, 6)), "  and 3 more"]


def test_missing_file_folder_and_utf16_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="directory"):
        read(tmp_path)
    file = tmp_path / "wide.jsonl"
    file.write_text('{"a": 1}\n', "utf-16")
    with pytest.raises(UserError, match="iconv"):
        read(file)


def test_repeated_ids_are_reported_and_made_unique() -> None:
    ids = UniqueIds()
    claimed = [ids.claim(name, f"f:{line}") for line, name in enumerate(["a", "b", "a", "a~2", "a", "a"], start=1)]
    assert claimed == ["a", "b", "a~2", "a~2~2", "a~3", "a~4"]
    assert len(set(claimed)) == 6
    assert ids.duplicates.count == 4
    assert ids.duplicates.first[0] == "f:3: id 'a' again"


def test_a_file_of_one_id_stays_fast_enough_to_finish() -> None:
    ids = UniqueIds()
    assert len({ids.claim("same", "f:1") for _ in range(20_000)}) == 20_000
