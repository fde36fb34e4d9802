"""The rollout log: OUTPUT_DIR/rollouts has every completion of every level that was sampled. One row:

    {"step": 12, "id": "geoqa+/5137#0", "image": "/data/geoqa+/5137.png", "question": "...", "solution": "65°",
     "level": 1, "hint": "AB = AC.", "place": 0, "completion": "So ...</think><answer>60°</answer>", "finish_reason": "stop",
     "num_tokens": 93, "rewards": {"accuracy": 0.0}, "accuracy": 0.0, "answer": "60°", "verdict": "different",
     "trained": true, "advantage": -0.58}

A row joins to the hint ledger by `step` and `id`. `trained` rows are those of the chosen level; the others have no advantage.
In a group that mixes hints, the levels are its rounds, and all rows are trained on.

Rows are JSON lines in files of BLOCK steps (steps-000001.jsonl.gz, steps-000101.jsonl.gz, ...). Every step appends one gzip
member, so that a kill costs the last step at most, and nothing is held in memory.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hint_grpo.machine.files import first_free, replace_file
from hint_grpo.rollout.escalation import Rollout
from hint_grpo.scoring.explanation import explain

Row = dict[str, Any]
FOLDER = "rollouts"
LEFT_OUT_FILE = "left_out.json"
BLOCK = 100
KEEP_WORDS = ("all", "trained")


def rows_of(
    step: int,
    rows_B: Sequence[Mapping[str, Any]],
    rollouts_B: Sequence[Rollout],
    reward_names_F: Sequence[str],
    advantages: Sequence[float],
) -> list[list[Row]]:
    """The log's rows of a batch, one list per prompt (B). `advantages` (B * G) are those of the chosen groups."""
    given = iter(advantages)
    return [
        [
            _row(step, row, rollout, level, place, reward_names_F, next(given) if rollout.is_trained(level) else None)
            for level in rollout.groups
            for place in range(len(rollout.groups[level].completions))
        ]
        for row, rollout in zip(rows_B, rollouts_B, strict=True)
    ]


def _row(
    step: int,
    row: Mapping[str, Any],
    rollout: Rollout,
    level: int,
    place: int,
    reward_names_F: Sequence[str],
    advantage: float | None,
) -> Row:
    group = rollout.groups[level]
    completion, accuracy = group.completions[place], group.accuracy_G[place]
    answer, verdict = explain(group.texts[place], row["solution"], correct=accuracy == 1.0)
    return {
        "step": step,
        "id": row["id"],
        "image": row["image"],
        "question": row["question"],
        "solution": row["solution"],
        "level": level,
        "hint": group.turn.hint.text,
        "place": place,
        "completion": group.texts[place],
        "finish_reason": completion.finish_reason,
        "num_tokens": len(completion.token_ids),
        "rewards": dict(zip(reward_names_F, map(_or_none, group.rewards_GF[place]), strict=True)),
        "accuracy": _or_none(accuracy),
        "answer": answer,
        "verdict": verdict,
        "trained": rollout.is_trained(level),
        "advantage": advantage,
    }


def _or_none(reward: float) -> float | None:
    """NaN is not JSON."""
    return None if math.isnan(reward) else reward


def kept(rows_by_prompt: Sequence[list[Row]], keep: str) -> list[Row]:
    """What --keep_rollouts leaves of a step: `all`, `trained` (the chosen groups), or the first N prompts."""
    prompts = rows_by_prompt if keep in KEEP_WORDS else rows_by_prompt[: int(keep)]
    return [row for rows in prompts for row in rows if keep != "trained" or row["trained"]]


class RolloutLog:
    """Writes the log of one run, in the main process. Once `max_bytes` are reached, nothing more is stored, and that is said."""

    def __init__(self, folder: Path, keep: str, max_bytes: int) -> None:
        self.folder, self.keep, self.max_bytes = folder, keep, max_bytes
        self._size: int | None = None  # of all files; counted when the first step is stored
        self._is_full = False

    @property
    def is_off(self) -> bool:
        """Whether the flags let nothing be stored, so that no rank needs to make rows."""
        return self.keep not in KEEP_WORDS and int(self.keep) == 0

    def append(self, step: int, rows_by_prompt: Sequence[list[Row]]) -> None:
        """Stores a step's rows (of all ranks, one list per prompt) as --keep_rollouts says."""
        rows = kept(rows_by_prompt, self.keep)
        if not rows or self._is_full:
            return
        member = _member(rows)
        if self._size is None:
            self._size = sum(file.stat().st_size for file in files_in(self.folder))
        if self._size + len(member) > self.max_bytes:
            self._stop(step)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with _file(self.folder, step).open("ab") as file:
            file.write(member)
        self._size += len(member)

    def _stop(self, step: int) -> None:
        self._is_full = True
        reason = (
            f"--max_rollouts_mb {self.max_bytes / 1e6:g} is reached: completions from step {step} on are not stored"
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / LEFT_OUT_FILE, json.dumps({"from_step": step, "reason": reason}) + "\n")
        print(f"{FOLDER}/: {reason}", flush=True)


def start(folder: Path, step: int) -> None:
    """Prepares the log for a run that continues after `step`: later rows are removed. A new run (step 0) renames the folder."""
    if not folder.exists():
        return
    if step == 0:
        folder.rename(first_free(lambda number: folder.with_name(f"{FOLDER}.{number}")))
        return
    (folder / LEFT_OUT_FILE).unlink(missing_ok=True)
    for file in files_in(folder):
        if _first_step(file) > step:
            file.unlink()
        elif file == _file(folder, step):
            replace_file(file, _member(row for row in _read_file(file) if row["step"] <= step))


def read(folder: Path) -> Iterator[Row]:
    """Every stored row, in the order of steps; nothing if the folder is not there."""
    for file in files_in(folder):
        yield from _read_file(file)


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("steps-*.jsonl.gz"))


def _member(rows: Iterable[Row]) -> bytes:
    """Rows as one gzip member of JSON lines."""
    return gzip.compress("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8"))


def _file(folder: Path, step: int) -> Path:
    return folder / f"steps-{(step - 1) // BLOCK * BLOCK + 1:06}.jsonl.gz"


def _first_step(file: Path) -> int:
    return int(file.name.removeprefix("steps-").partition(".")[0])


def _read_file(file: Path) -> Iterable[Row]:
    """The rows of one file; a last member that a kill cut off is left out, whole lines of it included."""
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        try:
            for line in lines:
                yield json.loads(line)
        except (EOFError, zlib.error, gzip.BadGzipFile, json.JSONDecodeError, UnicodeDecodeError):
            return
