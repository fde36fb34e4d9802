"""CPU threads under torchrun, which sets OMP_NUM_THREADS to 1 when the user has not set it."""

import os
import subprocess
import sys

import pytest

from hint_grpo.machine.hardware import torchrun_chose_threads
from hint_grpo.machine.processes import free_port

RANK = """
import os
import hint_grpo.machine.hardware
hint_grpo.machine.hardware.available_cores = lambda: list(range(8))
import hint_grpo.machine.stack
import torch
from hint_grpo.rollout.server_process import is_the_trainers
print(f"{torch.get_num_threads()} {os.environ['OMP_NUM_THREADS']} {is_the_trainers('OMP_NUM_THREADS')};", end="")
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param(None, "4 4 True", id="torchrun's default: a share of the 8 cores each, and not the server's"),
        pytest.param("1", "1 1 False", id="the user's 1, also for the server"),
    ],
)
def test_each_of_two_ranks_has_its_share_of_the_cores(chosen, expected, repository, tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = str(repository)
    if chosen:
        environment["OMP_NUM_THREADS"] = chosen
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--nnodes=1", "--node_rank=0"),
            *("--master-addr=localhost", f"--master-port={free_port()}", str(script)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split(";") == [expected, expected, ""]


def test_without_torchrun_nothing_is_changed():
    assert not torchrun_chose_threads({"OMP_NUM_THREADS": "1"})
    assert not torchrun_chose_threads({"TORCHELASTIC_RUN_ID": "none"})
