"""What tests of killed runs read from an output folder, and a data set so small that a second epoch begins soon."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

LEDGER = "hint_ledger.jsonl"


def records(out: Path) -> list[dict[str, Any]]:
    """The ledger's records; every line must be whole."""
    return [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]


def records_so_far(out: Path) -> list[dict[str, Any]]:
    """The ledger's records while a run writes them: without a line that is not whole yet."""
    lines = (out / LEDGER).read_text().splitlines() if (out / LEDGER).exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def first_questions(train_data: Path, folder: Path, count: int) -> Path:
    """Writes the first `count` questions of a toy world's training data, with all pictures, to `folder`."""
    folder.mkdir()
    lines = (train_data / "train.jsonl").read_text().splitlines()[:count]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("geoqa+", "CLEVR_v1.0"):
        if (train_data / name).exists():
            shutil.copytree(train_data / name, folder / name)
    return folder
