"""`python -m eval.reproduce` on the toy world, two rows of three steps: killed in the middle, started again, complete."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def command(world, tmp_path):
    flags = {
        "model_path": world.models["Qwen2.5-VL"],
        "data_path": world.train_data,
        "eval_data": world.test_data,
        "prompt_path": world.test_prompts,
        "output_dir": tmp_path / "out",
        "settings": "eval/recipes/settings/toy.yaml",
        "rows": "grpo,calibration_0.8",
        "limit": 8,
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "eval.reproduce", *words, "--", "--max_steps", "3", "--save_steps", "1"]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")]


def test_killed_and_resumed(command, repository, tmp_path) -> None:
    out = tmp_path / "out"
    with (tmp_path / "first.txt").open("w") as log:
        first = subprocess.Popen(command, cwd=repository, stdout=log, stderr=subprocess.STDOUT)
    while not any(out.glob("training/*/checkpoint-1")):
        assert first.poll() is None, (tmp_path / "first.txt").read_text()
        time.sleep(0.05)
    started = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    second = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert not [process for process in started if process.is_running()]  # the second run waited for them
    assert "training: resuming" in second.stdout
    for run in ("grpo", "hint_grpo_m3"):
        folder = out / "training" / run
        assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 3
        records = [json.loads(line) for line in (folder / "hint_ledger.jsonl").read_text().splitlines()]
        # Four prompts a step, no step twice.
        assert [record["step"] for record in records] == [1] * 4 + [2] * 4 + [3] * 4
    rows = [line for line in second.stdout.splitlines() if line.startswith(("| GRPO", "| calibration"))]
    (header,) = [line for line in second.stdout.splitlines() if line.startswith("| row")]
    column = cells(header).index("questions")
    assert [cells(row)[column] for row in rows] == ["8", "8"]
    for scale_folder in ("grpo/final/scale-0.0", "hint_grpo_m3/final/scale-0.8"):
        results = (out / "evaluation" / scale_folder / "results.jsonl").read_text().splitlines()
        assert len({json.loads(line)["id"] for line in results}) == len(results) == 8

    third = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert third.returncode == 0
    assert "starting" not in third.stdout
    assert "resuming" not in third.stdout
    assert [line for line in third.stdout.splitlines() if line.startswith("| ")] == [
        line for line in second.stdout.splitlines() if line.startswith("| ")
    ]
