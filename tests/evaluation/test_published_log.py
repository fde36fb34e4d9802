"""R1-V's published log of 754 real completions, scored through `test_model.py --rescore`: the paper's 30.64 %."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hint_grpo.evaluation.results import Result, write_results

ROOT = Path(__file__).resolve().parents[2]
LOG = Path("completions") / "geoqa_test_qwen2vl_7b_instruct_legacy.json"


@pytest.fixture
def output(shared_data: Path, tmp_path: Path) -> Path:
    """The log as a run of ours would have left it, with no verdict yet."""
    entries = json.loads((shared_data / LOG).read_text(encoding="utf-8"))["results"]
    folder = tmp_path / "output" / "scale-0.0"
    folder.mkdir(parents=True)
    write_results(folder / "results.jsonl", [_result(str(place), entry) for place, entry in enumerate(entries)])
    return folder.parent


def _result(id: str, entry: dict[str, Any]) -> Result:
    row, gold, completion = entry["question"], entry["ground_truth"], entry["model_output"]
    return Result(id, row["image_path"], row["question"], gold, completion, None, False, False, 0, "stop")


def test_the_papers_number(output: Path) -> None:
    command = [sys.executable, "test_model.py", "--rescore", "--output_dir", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Accuracy: 30.64%"
    (summary,) = json.loads((output / "summary.json").read_text())
    assert summary["num_correct_paper"] == 231
    assert len(summary["paper_only"]) + summary["num_correct_strict"] == 231 + len(summary["strict_only"])
