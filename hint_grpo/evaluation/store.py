"""The folder of one scale: answers on disk as they arrive, and which of them are still valid when a run starts again.

    OUTPUT_DIR/scale-0.8/
        results.jsonl     one line per answer; appended during the run, in question order when it is finished
        cache.json        what the answers were made with, and one key per question (`conditions_for`)
        set_aside.jsonl   answers made with something else (other weights, other questions): kept, never mixed in
        summary.json

An answer is reused only if its key is the same. cache.json is replaced atomically before any decoding, and only while
results.jsonl is absent: no kill can leave an answer beside a key that it was not made with.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hint_grpo.data.questions import Question
from hint_grpo.evaluation.results import (
    RESULTS_FILE,
    Answer,
    Result,
    json_line,
    read_lines,
    read_results,
    result_line,
    write_results,
)
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import replace_file
from hint_grpo.prompts import evaluation_messages

CACHE_FILE = "cache.json"
SET_ASIDE_FILE = "set_aside.jsonl"
HOW_TO_RESUME = "fix this and run the same command again to resume"
# Files that the libraries read from a model folder; optimizer states, logs and the like are left out.
MODEL_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model"}
# Not part of the model, including what an evaluation writes if its folder is the model's.
NOT_THE_MODEL = {"trainer_state.json", "model_digests.json", "summary.json"}

# ----------------------------------------------------------------------------------------------------
# The cache key: everything that an answer depends on. Two runs share an answer only if all of it is the same.
#
# A key covers, for one question: the content of the model folder (weights, config, tokenizer, chat template, generation
# config), the prompt as the model sees it, the bytes of the picture, and the decoding parameters.
#
# - The backend and the dtype are part of it. Both backends give the same tokens in float32, but in bfloat16 they round
#   differently, and a table must not mix two decoders by accident.
# - The batch size and the number of processes are not: they change the speed, not the answer. A user who lowers the batch
#   size after running out of memory keeps every answer.
# - The ground truth is not: answers are judged against it, but the model never sees it.


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything the answers of one scale depend on: the part they share, and one key per question."""

    decoding: dict[str, Any]
    keys_by_id: dict[str, str]


def conditions_for(
    questions: Sequence[Question], images: Mapping[str, str], decoding: dict[str, Any], *, with_image: bool
) -> Conditions:
    """The conditions of one scale.

    `images` maps a question's id to the digest of its picture; `decoding` includes the weights' digest.
    """
    keys = {
        question.id: _digest_json(
            [decoding, evaluation_messages(question.question, with_image=with_image), images.get(question.id)]
        )
        for question in questions
    }
    return Conditions(decoding, keys)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(model_path: Path, memo_path: Path) -> str:
    """One digest for the content of a model folder.

    Content, not names and dates: a copied checkpoint is the same, an overwritten one is not. Hashing 16 GB takes seconds and
    warms the page cache for the loader. `memo_path` stores the digests of files together with their inode, size and times, so
    that the next run does not read unchanged files again.
    """
    files = [path for path in sorted(model_path.iterdir()) if _is_model_file(path)]
    stamps = list(
        map(_stamp, files)
    )  # taken before the files are read: one that changes meanwhile is read again next time
    memo = _read_memo(memo_path)
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        digests = list(pool.map(lambda path, stamp: memo.get(stamp) or file_digest(path), files, stamps))
    replace_file(memo_path, json.dumps(dict(zip(stamps, digests, strict=True)), indent=1) + "\n")
    return _digest_json([[path.name, digest] for path, digest in zip(files, digests, strict=True)])


def _is_model_file(path: Path) -> bool:
    return path.is_file() and path.suffix in MODEL_SUFFIXES and path.name not in NOT_THE_MODEL


def _stamp(path: Path) -> str:
    """A string that changes whenever the content may have: a copy that preserves dates cannot set back the change time."""
    stat = path.stat()
    return f"{path.resolve()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _read_memo(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _digest_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


# ----------------------------------------------------------------------------------------------------
# The folder


class ResultStore:
    """The files of one scale.

    `begin` reads the earlier answers, `start` opens results.jsonl, `append` adds an answer, `finish` puts all in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results_path = folder / RESULTS_FILE
        self.changes: tuple[str, ...] = ()  # what differs from the earlier run, for the message to the user
        self._file: BinaryIO | None = None

    def begin(self, conditions: Conditions) -> dict[str, Answer]:
        """The earlier answers that are valid under `conditions`, by question id. Sets all others aside."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before, results = self._read_cache(), read_results(self.results_path)
        known = self._known_answers(before.get("keys_by_id", {}), results)
        if before != asdict(conditions):
            self.changes = _changes(before, conditions) if results else ()
            self._renew(conditions, known)
        return {id: known[key] for id, key in conditions.keys_by_id.items() if key in known}

    def start(self, kept: Mapping[str, Result]) -> None:
        """Writes the valid results (this also drops a line that a kill cut off) and opens the file for more."""
        write_results(self.results_path, kept.values())
        self._file = self.results_path.open("ab", buffering=0)

    def append(self, result: Result) -> None:
        """Adds an answer by a single write, so that it is complete in the page cache and survives a kill of this process.

        Raises UserError if the disk is full or the file cannot be written.
        """
        assert self._file is not None
        line = result_line(result).encode()
        try:
            complete = self._file.write(line) == len(line)  # a full disk may accept only a part
        except OSError as error:
            raise UserError(f"{self.results_path} cannot be written ({error.strerror}); {HOW_TO_RESUME}") from error
        if not complete:
            raise UserError(f"{self.results_path} cannot be written (the disk is full); {HOW_TO_RESUME}")

    def finish(self, results: list[Result]) -> None:
        """Closes the file and rewrites it: each id once, in question order."""
        self.close()
        write_results(self.results_path, results)

    def close(self) -> None:
        """Flushes the answers to the disk and closes the file."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _read_cache(self) -> dict[str, Any]:
        path = self.folder / CACHE_FILE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _known_answers(self, keys_by_id: dict[str, str], results: dict[str, Result]) -> dict[str, Answer]:
        """Every answer in this folder by its key: those set aside, and those of results.jsonl."""
        set_aside = {line.pop("key"): Answer(**line) for line in read_lines(self.folder / SET_ASIDE_FILE)}
        return set_aside | {keys_by_id[id]: result.given for id, result in results.items() if id in keys_by_id}

    def _renew(self, conditions: Conditions, known: dict[str, Answer]) -> None:
        """Sets all known answers aside under their keys, then removes results.jsonl, then replaces cache.json (in this order)."""
        if known:
            lines = (json_line({"key": key, **asdict(answer)}) for key, answer in known.items())
            replace_file(self.folder / SET_ASIDE_FILE, "".join(lines))
        self.results_path.unlink(missing_ok=True)
        replace_file(self.folder / CACHE_FILE, json.dumps(asdict(conditions), ensure_ascii=False, indent=1) + "\n")


def _changes(before: dict[str, Any], conditions: Conditions) -> tuple[str, ...]:
    """What differs from the earlier run, in words: ("weights", "dtype float16, now float32")."""
    old = before.get("decoding", {})
    changes = [
        name if name == "weights" else f"{name} {old.get(name)}, now {value}"
        for name, value in conditions.decoding.items()
        if old.get(name) != value
    ]
    return tuple(changes) or ("questions or images",)
