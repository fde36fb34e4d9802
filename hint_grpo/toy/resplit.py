"""A file like the authors' llavacot_geometry.jsonl: train.jsonl's records with their reasonings as "Step 1: ..", "Step 2: ..".

It lies beside the data folder and not in it, where a run would use it without being told.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hint_grpo.data.llava_cot import GEOMETRY_PREFIXES
from hint_grpo.data.steps import split_steps

REASONING = re.compile(r"(<REASONING>)(.*?)(</REASONING>)", re.DOTALL)
MARK = re.compile(r"^Step \d+:\s*")


def resplit(text: str) -> str:
    """The reasoning of an answer as numbered steps; the rest stays."""

    def numbered(found: re.Match[str]) -> str:
        steps = [MARK.sub("", step) for step in split_steps(found[2])]
        lines = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
        return f"{found[1]} {lines} {found[3]}"

    return REASONING.sub(numbered, text)


def resplit_records(train_file: Path) -> Iterator[dict[str, Any]]:
    """The geometry records of a train.jsonl, in order."""
    with train_file.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["image"].startswith(GEOMETRY_PREFIXES):
                turns = [turn | {"value": resplit(turn["value"])} for turn in record["conversations"]]
                yield record | {"conversations": turns}
