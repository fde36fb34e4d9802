"""train_model.py on one GPU: vLLM in the trainer's process sleeps while the policy is trained and gets its weights after every
step."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hint_grpo.toy.world import World

STEPS = 4


@pytest.mark.gpu
@pytest.mark.parametrize("escalation", ["lazy", "speculative"])
def test_a_run_with_vllm_and_sleep_mode(world: World, repository: Path, tmp_path: Path, escalation: str) -> None:
    """float32, so that vLLM's log-probabilities of the present weights differ from the trainer's by rounding alone."""
    command = [sys.executable, "train_model.py", "--model_name_or_path", world.models["Qwen2.5-VL"]]
    command += ["--data_path", world.train_data, "--output_dir", tmp_path / "run", "--torch_dtype", "float32"]
    command += ["--use_vllm", "true", "--vllm_mode", "colocate", "--vllm_gpu_memory_utilization", "0.3"]
    command += ["--per_device_train_batch_size", "8", "--num_generations", "4", "--max_completion_length", "120"]
    command += ["--max_steps", str(STEPS), "--learning_rate", "1e-4", "--logging_steps", "1", "--save_strategy", "no"]
    command += ["--escalation", escalation]
    done = subprocess.run(list(map(str, command)), cwd=repository, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [row for row in map(json.loads, lines) if "time/generate" in row]
    assert len(steps) == STEPS
    for row in steps:
        assert row["sampling/sampling_logp_difference/mean"] < 5e-3
        assert row["memory/peak_gib"] > 0
    # Some questions failed at level 0 and were sampled with a hint.
    ledger = (tmp_path / "run" / "hint_ledger.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(json.loads(line)["level"] for line in ledger) > 0
    before = load_file(world.models["Qwen2.5-VL"] / "model.safetensors")
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert any((before[name] != after[name]).any() for name in before)
