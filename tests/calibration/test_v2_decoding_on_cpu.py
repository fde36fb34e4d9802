"""Calibrated decoding on vLLM's Model Runner V2 without a GPU (`triton_interpreter`): token for token the transformers path."""

import hint_grpo.machine.stack  # noqa: F401

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
from triton_interpreter import environment_of_v2, skip_reason

from hint_grpo.calibration.decoder import Completion

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow
# Few slots and an odd number of them, a budget of hardly more than one pair, room for three pairs: all at once.
HOSTILE = {
    "max_num_seqs": 7,
    "max_num_batched_tokens": 280,
    "max_model_len": 320,
    "block_size": 32,
    "num_gpu_blocks_override": 3 * 10 + 1,
}
BATCHES = [(0.8, 6), (0.0, 2)]  # all 40 at both scales take minutes, and were equal as well


def test_both_families_equal_the_transformers_path(calibration_world, reference, repository, tmp_path):
    if reason := skip_reason():
        pytest.skip(reason)
    job = {
        "models": {family: str(model) for family, model in calibration_world.models.items()},
        "questions": [asdict(request) for request in calibration_world.requests[:40]],
        "batches": BATCHES,
        "engine": HOSTILE,
        "report": str(tmp_path / "report.json"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    environment = environment_of_v2(tmp_path, repository)
    command = [sys.executable, "tests/calibration/v2_script.py", str(tmp_path / "job.json")]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads((tmp_path / "report.json").read_text())
    assert seen.keys() == calibration_world.models.keys()
    for family, batches in seen.items():
        for (scale, number), completions in zip(BATCHES, batches, strict=True):
            got = {c["id"]: Completion(**{**c, "token_ids": tuple(c["token_ids"])}) for c in completions}
            assert got == reference(family, number, scale)
