"""What an answer depends on. Two runs share an answer only where all of it is the same (the cache key).

A key covers, for one question: the content of the model folder (weights, config, tokenizer, chat template, generation
config), the prompt as the model sees it, the bytes of the picture, and the decoding parameters.

- The backend and the dtype are part of it. Both backends give the same tokens in float32, but in bfloat16 they round
  differently; a table must not be a mixture of two decoders that nobody asked for.
- The batch size and the number of processes are not: they are how fast, not what. A user who lowers the batch size
  after running out of memory keeps every answer.
- The ground truth is not: it is scored against, never shown to the model.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hint_grpo.data.questions import Question
from hint_grpo.errors import UserError
from hint_grpo.evaluation.results import replace_file
from hint_grpo.prompts import evaluation_messages

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


def check_model_folder(model_path: Path) -> None:
    """What can be said of a model at once; the rest is `load_decoder`'s."""
    if not model_path.is_dir():
        raise UserError(f"--model_path {model_path} is not a folder: get the model (hf download NAME --local-dir DIR)")
    if (model_path / "adapter_config.json").is_file():
        raise UserError(
            f"--model_path {model_path} holds a LoRA adapter: merge it first: python -m hint_grpo.merge {model_path} MERGED"
        )
    if not (model_path / "config.json").is_file():
        raise UserError(f"--model_path {model_path} holds no model: it has no config.json")


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
