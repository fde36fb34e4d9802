"""Ranks with different numbers of escalated prompts neither hang nor mix completions, whoever samples."""

import json
import os
import subprocess
import sys

import pytest

from hint_grpo.machine.processes import free_port

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["colocate", "server", "transformers under ZeRO-3"])
def test_every_completion_meets_its_own_prompt(mode, flags, repository, tmp_path):
    report = tmp_path / "seen"
    sampler = {"use_vllm": "true", "vllm_mode": mode}
    if mode.startswith("transformers"):
        sampler = {"use_vllm": "false", "deepspeed": "local_scripts/zero3_offload.json"}
    settings = {**sampler, "per_device_train_batch_size": 2, "max_steps": 3}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
        *("--master-addr", "localhost", "--master-port", str(free_port())),
        *("tests/life/rank_script.py", str(report), *flags(tmp_path / "out", **settings)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"seen.{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == len(second) == 3
    for step in first:
        assert step["levels"] == [[0], [0]]
    assert any(len(levels) > 1 for step in second for levels in step["levels"])
    assert any(level > 0 for step in second for level in step["chosen"])
    for step in first + second:  # before an update and after two of them
        assert step["gap"] is None or step["gap"] < 1e-3
