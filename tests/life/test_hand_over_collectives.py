"""What a hand-over under ZeRO-3 gathers, counted by torch's profiler on two real ranks, beside TRL's iterator."""

import json
import os
import subprocess
import sys

import pytest

from hint_grpo.machine.processes import free_port

pytest.importorskip("deepspeed")
pytest.importorskip("vllm")
pytestmark = pytest.mark.slow

# The toy model: 56 parameters, 5,033,472 bytes, in 2 + 2 blocks and 6 modules outside of them.
NUM_PARAMETERS, NUM_LAYERS, NUM_BYTES = 56, 10, 5_033_472


@pytest.fixture(scope="module")
def gathered(repository, tmp_path_factory):
    """gathered(kind) -> the reports of both ranks."""

    def gathered(kind):
        report = tmp_path_factory.mktemp("reports") / "report"
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
            *("--master-addr", "localhost", "--master-port", str(free_port())),
            *("tests/life/hand_over_script.py", str(report), kind),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(report.with_suffix(f".{rank}.json").read_text()) for rank in (0, 1)]

    return gathered


@pytest.mark.parametrize(
    ("kind", "trls_gathers", "changed"),
    [
        ("full", NUM_PARAMETERS, (10, 5_033_472)),
        ("frozen tower", NUM_PARAMETERS, (8, 3_711_488)),
        ("lora", NUM_PARAMETERS + 28, (2, 1_576_960)),  # two matrices for each of the 7 projections of 2 blocks
    ],
)
def test_one_all_gather_per_layer_and_nothing_that_is_frozen(gathered, kind, trls_gathers, changed):
    for report in gathered(kind):
        assert (report["num_parameters"], report["num_layers"]) == (NUM_PARAMETERS, NUM_LAYERS)
        trl, everything = report["trl"], report["everything"]
        assert (trl["gathers"], trl["bytes"]) == (trls_gathers, NUM_BYTES)
        assert (everything["gathers"], everything["bytes"]) == (NUM_LAYERS, NUM_BYTES)
        assert everything["sums"] == trl["sums"]
        assert (report["changed"]["gathers"], report["changed"]["bytes"]) == changed
        assert report["changed"]["sums"].items() <= trl["sums"].items()
        assert report["partitioned_again"]
        assert report["different"] == []
