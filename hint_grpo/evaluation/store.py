"""The folder of one scale: answers on disk as they arrive, and which of them still hold when a run starts again.

    OUTPUT_DIR/scale-0.8/
        results.jsonl     one line per answer; appended while the run goes, in question order when it is done
        cache.json        what the answers were made with, and one key per question (see `identity`)
        set_aside.jsonl   answers made with something else (other weights, other questions): kept, never mixed in
        summary.json

An answer is reused only where its key is the same. cache.json is replaced in one piece before any decoding, and only
while results.jsonl is absent: no kill can leave an answer beside a key that it was not made with.
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

# ----------------------------------------------------------------------------------------------------
# What an answer depends on. Two runs share an answer only where all of it is the same (the cache key).
#
# A key covers, for one question: the content of the model folder (weights, config, tokenizer, chat template, generation
# config), the prompt as the model sees it, the bytes of the picture, and the decoding parameters.
#
# - The backend and the dtype are part of it. Both backends give the same tokens in float32, but in bfloat16 they round
#   differently; a table must not be a mixture of two decoders that nobody asked for.
# - The batch size and the number of processes are not: they are how fast, not what. A user who lowers the batch size
#   after running out of memory keeps every answer.
# - The ground truth is not: it is scored against, never shown to the model.

# What the libraries read from a model folder; left out are optimizer states, logs and the like.
MODEL_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model"}
# Also what an evaluation writes, should its folder be the model's.
NOT_THE_MODEL = {"trainer_state.json", "model_digests.json", "summary.json"}


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything the answers of one scale depend on: the part they share, and one key per question."""

    decoding: dict[str, Any]
    keys_by_id: dict[str, str]


def conditions_for(
    questions: Sequence[Question], images: Mapping[str, str], decoding: dict[str, Any], *, with_image: bool
) -> Conditions:
    """`images` maps a question's id to the digest of its picture; `decoding` holds the weights' digest too."""
    keys = {
        question.id: _digest_json(
            [decoding, evaluation_messages(question.question, with_image=with_image), images.get(question.id)]
        )
        for question in questions
    }
    return Conditions(decoding, keys)


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(model_path: Path, memo_path: Path) -> str:
    """One digest for the content of a model folder.

    Content, not names and dates: a checkpoint that was copied is the same one, and one that was overwritten is not.
    Hashing 16 GB takes seconds and warms the page cache for the loader; `memo_path` remembers the digest of a file for
    as long as its inode, size and times stand, so that the next run does not read it again.
    """
    files = [path for path in sorted(model_path.iterdir()) if _is_model_file(path)]
    stamps = list(map(_stamp, files))  # before the files are read: one that changes meanwhile is read again next time
    memo = _read_memo(memo_path)
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        digests = list(pool.map(lambda path, stamp: memo.get(stamp) or file_digest(path), files, stamps))
    replace_file(memo_path, json.dumps(dict(zip(stamps, digests, strict=True)), indent=1) + "\n")
    return _digest_json([[path.name, digest] for path, digest in zip(files, digests, strict=True)])


def _is_model_file(path: Path) -> bool:
    return path.is_file() and path.suffix in MODEL_SUFFIXES and path.name not in NOT_THE_MODEL


def _stamp(path: Path) -> str:
    """Changes whenever the file's content may have: the change time cannot be set back by a copy that keeps dates."""
    stat = path.stat()
    return f"{path.resolve()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _read_memo(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _digest_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


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
