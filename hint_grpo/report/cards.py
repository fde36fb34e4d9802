"""Cards: one per prompt and step, from the rollout log and the ledger, with their pictures.

A card in the page's JSON:

    {"step": 12, "id": "geoqa+/5137#0", "image": 3, "question": "...", "solution": "65°", "chosen": 1, "state": "hinted",
     "hint_steps": 1, "num_steps": 3, "hint_tokens": 24,
     "levels": [{"level": 0, "hint": "", "rewards": null, "completions": [{"text": "...", "answer": "60°", "verdict": "different",
                 "finish": "stop", "tokens": 93, "rewards": {"accuracy": 0.0}, "advantage": null}]}]}

`image` is a position in the page's pictures. A level that was sampled but not stored (--keep_rollouts trained) has no
completions, only the `rewards` of the ledger.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hint_grpo.evaluation.results import read_lines
from hint_grpo.report.page_files import FOLDER, Card, CardStore, PageFiles
from hint_grpo.report.pictures import OVER_LIMIT, scaled_pictures
from hint_grpo.scoring.explanation import RIGHT
from hint_grpo.training import ledger, rollout_log


@dataclass(frozen=True)
class Limits:
    """How much of a run a page holds, and from which size on it keeps that in files beside it."""

    cards: int = 100_000
    text: int = 150_000_000
    """Characters of all hints and completions."""
    picture_bytes: int = 40_000_000
    """Of all pictures together, encoded."""
    embedded_text: int = 4_000_000
    embedded_pictures: int = 500


LIMITS = Limits()


@dataclass(frozen=True)
class Cards:
    """The cards of a page, in the order of steps."""

    data: dict[str, Any]
    """For the page's script: "cards" or "index" and "files" (hint_grpo.report.page_files), and "pictures"
    (hint_grpo.report.pictures)."""
    count: int
    steps: tuple[int, int]
    """The first and the last one; (0, 0) without cards."""
    levels: list[int]
    """All levels that were trained on."""
    notes: list[str]
    """Sentences about what is not on the page, or beside it."""


def read_cards(folder: Path, files: PageFiles, limits: Limits = LIMITS) -> Cards:
    """Reads a run's rollouts twice: first to count, then to store the chosen prompts. Memory grows by some bytes per prompt."""
    log = folder / rollout_log.FOLDER
    if not rollout_log.files_in(log):
        reason = "was it made with --keep_rollouts 0, or by an earlier version?"
        return Cards({}, 0, (0, 0), [], [f"The run stored no completions ({rollout_log.FOLDER}/ is missing): {reason}"])
    total, text = 0, 0
    for rows in _prompts(rollout_log.read(log)):
        total, text = total + 1, text + sum(map(_num_characters, rows))
    wanted = _evenly(total, min(limits.cards, int(total * min(1.0, limits.text / max(text, 1)))))
    records = _records(folder)
    store, paths = CardStore(files, limits.embedded_text), dict[str, int]()
    for number, rows in enumerate(_prompts(rollout_log.read(log))):
        record = next(records[rows[0]["step"], rows[0]["id"]], None)
        if number in wanted:
            store.add(_card(rows, record, paths.setdefault(rows[0]["image"], len(paths))))
    pictures = scaled_pictures(paths, files, max_bytes=limits.picture_bytes, max_embedded=limits.embedded_pictures)
    data = store.data() | {"pictures": pictures}
    steps = store.index["step"]
    return Cards(
        data=data,
        count=len(store),
        steps=(steps[0], steps[-1]) if steps else (0, 0),
        levels=sorted(set(store.index["chosen"]) - {None}),
        notes=[*_left_out(log, total, len(store), pictures, limits), *files_note(data, "prompts")],
    )


def _prompts(rows: Iterable[rollout_log.Row]) -> Iterator[list[rollout_log.Row]]:
    """The rows of one prompt at a time. They are stored together; a sample that occurs twice in a step begins anew."""
    current: list[rollout_log.Row] = []
    seen: set[tuple[int, int]] = set()
    for row in rows:
        place = (row["level"], row["place"])
        if current and ((row["step"], row["id"]) != (current[0]["step"], current[0]["id"]) or place in seen):
            yield current
            current, seen = [], set()
        current.append(row)
        seen.add(place)
    if current:
        yield current


def _num_characters(row: rollout_log.Row) -> int:
    return len(row["completion"]) + len(row["hint"]) + 200  # 200: the keys and numbers around them


def _evenly(total: int, count: int) -> set[int]:
    """`count` of the numbers below `total`, equally far apart."""
    return {number * total // count for number in range(count)} if count else set()


def _records(folder: Path) -> defaultdict[tuple[int, str], Iterator[ledger.Record]]:
    """The ledger's records by step and id, each key's in their order."""
    lists: dict[tuple[int, str], list[ledger.Record]] = defaultdict(list)
    for record in read_lines(folder / ledger.FILE_NAME):
        lists[record["step"], record["id"]].append(record)
    iterators: defaultdict[tuple[int, str], Iterator[ledger.Record]] = defaultdict(lambda: iter(()))
    iterators.update({key: iter(records) for key, records in lists.items()})
    return iterators


def _card(rows: list[rollout_log.Row], record: ledger.Record | None, image: int) -> Card:
    first = rows[0]
    chosen = next((row["level"] for row in rows if row["trained"]), record["level"] if record else None)
    is_right = any(row["verdict"] == RIGHT for row in rows) or bool(record and not ledger.never_correct(record))
    hinted = any(row["hint"] for row in rows if row["level"] == chosen)
    levels: dict[int, dict[str, Any]] = {}
    for row in rows:
        level = levels.setdefault(
            row["level"], {"level": row["level"], "hint": row["hint"], "rewards": None, "completions": []}
        )
        level["completions"].append(_completion(row))
    for key, rewards in (record["rewards"] if record else {}).items():
        if int(key) not in levels:
            known = [value if math.isfinite(value) else None for value in rewards]
            levels[int(key)] = {"level": int(key), "hint": None, "rewards": known, "completions": []}
    return {
        "step": first["step"],
        "id": first["id"],
        "image": image,
        "question": first["question"],
        "solution": first["solution"],
        "chosen": chosen,
        "state": "never" if not is_right else "hinted" if hinted else "unaided",
        **{key: record[key] if record else None for key in ("hint_steps", "num_steps", "hint_tokens", "valid")},
        "levels": [levels[level] for level in sorted(levels)],
    }


def _completion(row: rollout_log.Row) -> dict[str, Any]:
    advantage = row["advantage"]
    return {
        "text": row["completion"],
        "answer": row["answer"],
        "verdict": row["verdict"],
        "finish": row["finish_reason"],
        "tokens": row["num_tokens"],
        "rewards": row["rewards"],
        "advantage": advantage if advantage is not None and math.isfinite(advantage) else None,
    }


def _left_out(log: Path, total: int, count: int, pictures: list[dict[str, Any]], limits: Limits) -> Iterator[str]:
    if count < total:
        yield (
            f"The page has {count:,} of the {total:,} stored prompts, evenly spaced over the steps; filters and search cover "
            "these. All are in rollouts/ (docs/outputs.md)."
        )
    file = log / rollout_log.LEFT_OUT_FILE
    if file.is_file():
        try:
            yield f"The run itself stored less than it sampled: {json.loads(file.read_text(encoding='utf-8'))['reason']}."
        except (ValueError, KeyError, TypeError):
            yield "The run itself stored less than it sampled."
    missing = [picture for picture in pictures if not picture["src"]]
    over = sum(picture["reason"] == OVER_LIMIT for picture in missing)
    if over:
        yield f"{over:,} of {len(pictures):,} pictures are left out: together they may have {limits.picture_bytes / 1e6:g} MB."
    if len(missing) > over:
        yield f"{len(missing) - over:,} of {len(pictures):,} pictures could not be read; their cards show the path instead."


def files_note(data: Mapping[str, Any], noun: str) -> Iterator[str]:
    """A sentence if the page needs the files beside it."""
    what = [noun] if "files" in data else []
    what += ["pictures"] if any((picture["src"] or "").startswith(FOLDER) for picture in data["pictures"]) else []
    if what:
        yield f"The {' and '.join(what)} are in the folder {FOLDER} beside this page: copy or move both together."
