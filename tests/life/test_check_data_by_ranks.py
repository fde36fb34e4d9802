"""--check_data under torchrun: the ranks share the pictures out, and all of them know the whole result."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.machine.processes import free_port

pytestmark = pytest.mark.slow


def test_each_picture_is_opened_once_and_every_rank_gets_the_result(flags, repository: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pictures = [data / f"{number}.png" for number in range(5)]
    for picture in pictures:
        Image.new("RGB", (84, 84)).save(picture)
    pictures[1].write_bytes(pictures[0].read_bytes()[:50])
    pictures[4].write_bytes(b"<html></html>")
    rows = [
        {"id": path.stem, "image": path.name, "question": "How many?", "solution": "2", "reasoning_steps": ["1.", "2."]}
        for path in pictures
    ]
    (data / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = tmp_path / "seen"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
        *("--master-addr", "localhost", "--master-port", str(free_port()), "tests/life/check_script.py", str(report)),
        *flags(tmp_path / "out", data_path=data, dataset_name="own.jsonl", use_vllm="false"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [json.loads((tmp_path / f"seen.{rank}.json").read_text()) for rank in (0, 1)]
    assert Counter(path for rank in seen for path in rank["opened"]) == {str(path): 1 for path in pictures}
    assert all(rank["opened"] for rank in seen)
    for rank in seen:
        assert (rank["code"], rank["usable"]) == (1, ["0", "2", "3"])
    assert done.stdout.count("checked 5 samples") == 1
    assert "own.jsonl:2: image: the image file is truncated" in done.stdout
    assert "own.jsonl:5: image: an HTML page" in done.stdout
