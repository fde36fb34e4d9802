"""Training on rollouts of vLLM's Model Runner V2, without a GPU (`triton_interpreter`)."""

import hint_grpo.machine.stack  # noqa: F401

import json
import subprocess
import sys

import pytest
from triton_interpreter import environment_of_v2, skip_reason

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


def test_three_updates_reach_model_runner_v2(world, repository, tmp_path):
    """The sampler is the policy before the first update and after each of three."""
    if reason := skip_reason():
        pytest.skip(reason)
    flags = {
        "model_name_or_path": world.models["Qwen2.5-VL"],
        "data_path": world.train_data,
        "output_dir": tmp_path / "out",
        "use_vllm": "true",
        "num_generations": 2,
        "max_completion_length": 10,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "use_cpu": "true",
        "log_completions": "false",
        "disable_tqdm": "true",
    }
    arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "tests/training/v2_script.py", str(tmp_path / "report.json"), *arguments],
        cwd=repository,
        env=environment_of_v2(tmp_path, repository),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads((tmp_path / "report.json").read_text())
    assert seen["runner"] == "vllm.v1.worker.gpu.model_runner"
    # an engine that sleeps must not use it: sleep level 2 discards buffers that vLLM does not restore
    assert seen["chosen"] == {"asleep": False, "awake": True}
    assert len(seen["gaps"]) == 4
    assert max(seen["gaps"]) < 1e-4, seen["gaps"]
    assert seen["moved"] > 1e-3
