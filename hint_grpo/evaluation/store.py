"""The folder of one scale: answers on disk as they arrive, and which of them still hold when a run starts again.

    OUTPUT_DIR/scale-0.8/
        results.jsonl     one line per answer; appended while the run goes, in question order when it is done
        cache.json        what the answers were made with, and one key per question (see `identity`)
        set_aside.jsonl   answers made with something else (other weights, other questions): kept, never mixed in
        summary.json

An answer is reused only where its key is the same. cache.json is replaced in one piece before any decoding, and only
while results.jsonl is absent: no kill can leave an answer beside a key that it was not made with.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from hint_grpo.errors import UserError
from hint_grpo.evaluation.identity import Conditions
from hint_grpo.evaluation.results import (
    RESULTS_FILE,
    Answer,
    Result,
    json_line,
    read_lines,
    read_results,
    replace_file,
    result_line,
    write_results,
)

CACHE_FILE = "cache.json"
SET_ASIDE_FILE = "set_aside.jsonl"
GOES_ON = "cure that and run the same command again: it goes on from here"


class ResultStore:
    """Reads what earlier runs left in `folder`, then takes answers one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results_path = folder / RESULTS_FILE
        self.changes: tuple[str, ...] = ()  # what differs from the earlier run, for the message to the user
        self._file: BinaryIO | None = None

    def begin(self, conditions: Conditions) -> dict[str, Answer]:
        """The answers of earlier runs that still hold, by question id; the folder is ready to take more afterwards."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before, results = self._read_cache(), read_results(self.results_path)
        known = self._known_answers(before.get("keys_by_id", {}), results)
        if before != asdict(conditions):
            self.changes = _changes(before, conditions) if results else ()
            self._renew(conditions, known)
        return {id: known[key] for id, key in conditions.keys_by_id.items() if key in known}

    def start(self, kept: Mapping[str, Result]) -> None:
        """Writes the results that still hold (this also drops a torn last line) and opens the file for more."""
        write_results(self.results_path, kept.values())
        self._file = self.results_path.open("ab", buffering=0)

    def append(self, result: Result) -> None:
        """One write per answer: whole in the page cache, so it outlives the process."""
        assert self._file is not None
        line = result_line(result).encode()
        try:
            whole = self._file.write(line) == len(line)  # a full disk may take a part of it
        except OSError as error:
            raise UserError(f"{self.results_path} cannot be written ({error.strerror}); {GOES_ON}") from error
        if not whole:
            raise UserError(f"{self.results_path} cannot be written (the disk is full); {GOES_ON}")

    def finish(self, results: list[Result]) -> None:
        """The final file: each id once, in question order."""
        self.close()
        write_results(self.results_path, results)

    def close(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _read_cache(self) -> dict[str, Any]:
        path = self.folder / CACHE_FILE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _known_answers(self, keys_by_id: dict[str, str], results: dict[str, Result]) -> dict[str, Answer]:
        """Every answer this folder holds, by key: those set aside, and those of results.jsonl."""
        set_aside = {line.pop("key"): Answer(**line) for line in read_lines(self.folder / SET_ASIDE_FILE)}
        return set_aside | {keys_by_id[id]: result.given for id, result in results.items() if id in keys_by_id}

    def _renew(self, conditions: Conditions, known: dict[str, Answer]) -> None:
        """Sets all known answers aside under their keys, then removes results.jsonl, then replaces cache.json."""
        if known:
            lines = (json_line({"key": key, **asdict(answer)}) for key, answer in known.items())
            replace_file(self.folder / SET_ASIDE_FILE, "".join(lines))
        self.results_path.unlink(missing_ok=True)
        replace_file(self.folder / CACHE_FILE, json.dumps(asdict(conditions), ensure_ascii=False, indent=1) + "\n")


def _changes(before: dict[str, Any], conditions: Conditions) -> tuple[str, ...]:
    """What the earlier run was made with that is different now, in words: ("weights", "dtype float16, now float32")."""
    old = before.get("decoding", {})
    changes = [
        name if name == "weights" else f"{name} {old.get(name)}, now {value}"
        for name, value in conditions.decoding.items()
        if old.get(name) != value
    ]
    return tuple(changes) or ("questions or images",)
