"""vLLM's compile cache is shared by the decoding processes: its key is the same on every GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from hint_grpo.evaluation.pool import WorkerSlot, _environment

ROOT = Path(__file__).resolve().parents[2]
# What vLLM makes the name of the cache's folder from, besides the model's code; and the rest of the folder's name.
PRINT_KEY = """
import sys
from hint_grpo.calibration.load import load_decoder
from vllm import envs
from vllm.compilation.caching import aot_compile_hash_factors

config = load_decoder(sys.argv[1], backend="vllm", max_new_tokens=4).engine.vllm_config
parallel = config.parallel_config
print([aot_compile_hash_factors(config), envs.VLLM_CACHE_ROOT, parallel.rank, parallel.data_parallel_index])
"""


@pytest.mark.slow
def test_processes_on_different_gpus_have_the_same_key(calibration_world) -> None:
    keys = []
    for gpu in ("0", "1"):
        command = [sys.executable, "-c", PRINT_KEY, str(calibration_world.models["Qwen2.5-VL"])]
        done = subprocess.run(command, cwd=ROOT, env=_environment(WorkerSlot(gpu=gpu)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        keys.append(done.stdout.splitlines()[-1])
    assert keys[0].startswith("[[")
    assert keys[0] == keys[1]
