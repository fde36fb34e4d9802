"""The host memory that ZeRO offload needs: the arithmetic, what the machine has, and the line before a run."""

import hint_grpo.machine.stack  # noqa: F401

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers.integrations.deepspeed import (
    HfDeepSpeedConfig,
    is_deepspeed_zero3_enabled,
    unset_hf_deepspeed_config,
)

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.memory import Memory, host_memory
from hint_grpo.machine.processes import free_port
from hint_grpo.training.offload import check_host_memory, num_stored_weights, num_weights_of, offload_need

GB = 10**9
ZERO3 = json.loads(Path("local_scripts/zero3_offload.json").read_text())["zero_optimization"]
QWEN_7B = 8_291_375_616  # the parameters of Qwen2-VL-7B-Instruct


# ----------------------------------------------------------------------------------------------------
# The arithmetic


def test_the_papers_run():
    """12 (optimizer) + 2 + 4 (gradients) + 2 (parameters) + 2 (reference) = 22 bytes, 10 of them pinned."""
    need = offload_need(ZERO3, QWEN_7B, precision=2, has_reference=True)
    assert need.all == pytest.approx(182.4 * GB, rel=1e-3)
    assert need.pinned == pytest.approx(82.9 * GB, rel=1e-3)
    assert need.at_most == pytest.approx(265.3 * GB, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "settings", "bytes_per_weight", "pinned"),
    [
        ({}, {}, 22, 10),
        ({}, {"has_reference": False}, 20, 8),
        ({}, {"precision": 4}, 28, 16),
        ({}, {"share": 0.5}, 11, 5),  # two nodes
        ({}, {"is_adapter": True, "has_reference": False}, 2, 2),
        ({"offload_param": {"device": "none"}}, {}, 18, 6),
        ({"offload_optimizer": None}, {}, 4, 4),
        ({"offload_optimizer": {"device": "nvme"}}, {}, 4, 4),
        ({"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}, {}, 22, 0),
        ({"stage": 2}, {}, 18, 6),  # ZeRO-2 has no offload_param
    ],
)
def test_bytes_per_weight(changes, settings, bytes_per_weight, pinned):
    need = offload_need(ZERO3 | changes, 1000, **({"precision": 2, "has_reference": True} | settings))
    assert (need.all, need.pinned) == (1000 * bytes_per_weight, 1000 * pinned)


def test_the_line():
    need = offload_need(ZERO3, QWEN_7B, precision=2, has_reference=True)  # 182 GB, 83 of them pinned
    enough = check_host_memory(need, Memory(total=1000 * GB, available=900 * GB))
    assert enough == (
        "host memory: ZeRO offload keeps 8.29 billion weights in this machine's memory, 182 GB, "
        "up to 265 GB if pinned allocations are rounded up; 900 GB are available"
    )
    for memory in (Memory(300 * GB, 200 * GB), Memory(150 * GB, 140 * GB, swap=50 * GB)):
        line = check_host_memory(need, memory)
        assert line.startswith("warning: ")
        assert f"only {memory.available // GB} GB are available" in line
        assert "zero3.json" in line
    for memory in (Memory(180 * GB, 170 * GB), Memory(80 * GB, 70 * GB, swap=200 * GB)):
        with pytest.raises(UserError, match=f"this machine has {memory.total // GB} GB"):
            check_host_memory(need, memory)


# ----------------------------------------------------------------------------------------------------
# The number of weights


def test_weights_are_counted_by_the_headers(tmp_path):
    assert num_stored_weights(tmp_path) is None
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.tensor(1.0)}, tmp_path / "model-2.safetensors", metadata={"format": "pt"})
    assert num_stored_weights(tmp_path) == 3 * 5 + 7 + 1
    (tmp_path / "model-3.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert num_stored_weights(tmp_path) is None


def test_weights_are_counted_by_the_configuration_if_there_are_no_files(world, tmp_path):
    folder = Path(world.models["Qwen2.5-VL"])
    deepspeed = HfDeepSpeedConfig({"zero_optimization": ZERO3})
    training = SimpleNamespace(trust_remote_code=False, hf_deepspeed_config=deepspeed)
    assert is_deepspeed_zero3_enabled()
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert num_weights_of(str(tmp_path), training) == num_weights_of(str(folder), training) == 1_258_368
    assert is_deepspeed_zero3_enabled()
    unset_hf_deepspeed_config()


# ----------------------------------------------------------------------------------------------------
# This machine's memory


def files(root, **contents):
    for path, text in contents.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\nSwapTotal:        50 kB\n"


def test_the_whole_machine(tmp_path):
    assert host_memory(tmp_path) is None
    files(tmp_path, **{"proc/meminfo": MEMINFO})
    assert host_memory(tmp_path) == Memory(1_024_000, 614_400, 51_200)
    files(tmp_path, **{"proc/self/cgroup": "0::/\n"})
    assert host_memory(tmp_path) == Memory(1_024_000, 614_400, 51_200)


def test_a_control_group_above_this_process_is_tighter(tmp_path):
    files(tmp_path, **{"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/slurm/job_1/step\n"})
    group = tmp_path / "sys/fs/cgroup/slurm"
    files(group, **{"job_1/step/memory.max": "max\n", "job_1/step/memory.current": "7\n"})
    files(group, **{"job_1/memory.max": "500000\n", "job_1/memory.current": "400000\n"})
    files(group, **{"job_1/memory.stat": "anon 250000\ninactive_file 150000\n"})
    assert host_memory(tmp_path) == Memory(500_000, 250_000, 51_200)


def test_a_container_with_version_1_of_control_groups(tmp_path):
    """It sees the machine's path, and its own files at the top."""
    files(tmp_path, **{"proc/meminfo": MEMINFO, "proc/self/cgroup": "5:devices:/\n4:memory,cpu:/docker/abc\n"})
    group = tmp_path / "sys/fs/cgroup/memory"
    files(group, **{"memory.limit_in_bytes": "300000\n", "memory.usage_in_bytes": "350000\n"})
    assert host_memory(tmp_path) == Memory(300_000, 0, 51_200)
    files(group, **{"memory.limit_in_bytes": "9223372036854771712\n"})
    assert host_memory(tmp_path) == Memory(1_024_000, 614_400, 51_200)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")
def test_this_machine():
    memory = host_memory()
    assert memory is not None
    assert 0 < memory.available <= memory.total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# ----------------------------------------------------------------------------------------------------
# The command


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(repository, world, tmp_path):
    """Its file claims 10^14 weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in Path(world.models["Qwen2.5-VL"]).iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    header = json.dumps({"a": {"dtype": "BF16", "shape": [10**7, 10**7], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1"),
        *("--master-addr", "localhost", "--master-port", str(free_port())),
        *f"train_model.py --deepspeed local_scripts/zero3_offload.json --model_name_or_path {folder} --use_cpu true".split(),
        *f"--data_path {world.train_data} --output_dir {tmp_path / 'out'} --num_generations 2".split(),
    ]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr[-2000:]
    assert errors[0].startswith(
        "error: ZeRO offload keeps 100000.00 billion weights in this machine's memory, 2800000 GB"
    )
    assert "exitcode  : 2" in done.stderr


@pytest.mark.parametrize(
    ("megabytes", "processes", "expected"),
    [
        ("81559\n81559\n", "7", "zero3.json"),
        ("81559\n40960\n", "7", "zero3_offload.json"),
        ("81559\n", "2", "zero3_offload.json"),
        (None, "7", "zero3_offload.json"),
    ],
)
def test_the_papers_runs_offload_only_where_they_have_to(tmp_path, repository, megabytes, processes, expected):
    """Stand-ins for nvidia-smi, which prints the memory of GPUs that are not here, and for torchrun, which prints its words."""
    programs = {"torchrun": 'echo "$@"'}
    programs["nvidia-smi"] = "exit 9" if megabytes is None else f"printf '{megabytes}'"
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GPUS_TO_TRAIN": processes,
        "DATA": "data",
        "MODELS": "models",
    }
    command = ["bash", "local_scripts/paper_run.sh", "model", "run"]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
    words = done.stdout.split()
    assert words[words.index("--deepspeed") + 1] == f"local_scripts/{expected}"
