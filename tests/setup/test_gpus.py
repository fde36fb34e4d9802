"""A GPU that is present but cannot be used is reported in one line. A driver library built here replaces the machine's."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from hint_grpo.machine.hardware import cpu_model, num_visible

NVML = """
#include <stdlib.h>
#include <string.h>
int nvmlInit_v2(void) { return atoi(getenv("FAKE_INIT")); }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, getenv("FAKE_DRIVER"), size); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = atoi(getenv("FAKE_GPUS")); return 0; }
static const char *names[] = {"Toy GPU", "Toy GPU", "Other GPU"};
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)names[index]; return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned size) { strncpy(text, device, size); return 0; }
"""
LOOK = """
from hint_grpo.machine import hardware
hardware.torch_cuda = lambda: {cuda!r}
print(hardware.count_gpus(), hardware.gpu_problem())
print(hardware.describe_machine())
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "nvml.c").write_text(NVML)
    (folder / "cuda.c").write_text("int cuDriverGetVersion(int *version) { *version = 13000; return 0; }")
    (folder / "compat").mkdir()
    for source, target in (("nvml.c", "libnvidia-ml.so.1"), ("cuda.c", "compat/libcuda.so.1")):
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, source], cwd=folder, check=True)
    return folder


@pytest.fixture
def machine(libraries, repository):
    """machine(driver, num_gpus, cuda=...) -> (how many GPUs torch can use, the line that says what is wrong)."""

    def look(
        driver: str, num_gpus: int, *, cuda: str | None = "13.0", init: int = 0, compat: bool = False, **more: str
    ):
        folders = f"{libraries}:{libraries}/compat" if compat else str(libraries)
        fake = {"FAKE_DRIVER": driver, "FAKE_GPUS": str(num_gpus), "FAKE_INIT": str(init), "LD_LIBRARY_PATH": folders}
        environment = (
            {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"} | fake | more
        )
        command = [sys.executable, "-c", LOOK.format(cuda=cuda)]
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
        first, look.machine = done.stdout.strip().split("\n")
        count, _, problem = first.partition(" ")
        return int(count), problem

    return look


def test_the_machine_in_words(machine, tmp_path) -> None:
    machine("580.65.06", 3)
    assert machine.machine.endswith("GiB of memory, 2 x Toy GPU, 1 x Other GPU")
    machine("580.65.06", 3, CUDA_VISIBLE_DEVICES="0")
    assert machine.machine.endswith("2 x Toy GPU, 1 x Other GPU, 1 of them in use")
    machine("580.65.06", 0, init=9)
    assert re.fullmatch(r".*\S, (\d+ of )?\d+ cores?, \d+ GiB of memory", machine.machine)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Toy  CPU @ 1 GHz\nprocessor\t: 1\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Toy CPU @ 1 GHz"
    assert cpu_model(tmp_path / "none")  # the architecture


def test_a_driver_that_is_too_old(machine) -> None:
    problem = machine("570.133.20", 2)[1]
    assert "its driver is 570.133.20 and the installed torch (CUDA 13.0) needs R580 or newer" in problem
    assert "525" in machine("470.256.02", 1, cuda="12.8")[1]


def test_a_driver_that_will_do(machine) -> None:
    assert machine("580.65.06", 2) == (2, "None")
    assert machine("535.183.01", 2, cuda="12.8") == (2, "None")
    assert machine("570.133.20", 2, compat=True) == (2, "None")  # NVIDIA's compatibility package offers CUDA 13


def test_a_library_that_does_not_fit_its_kernel_module(machine) -> None:
    assert "restart the machine" in machine("580.65.06", 1, init=18)[1]


def test_no_gpu_is_no_problem(machine) -> None:
    assert machine("570.133.20", 0) == (0, "None")  # a login node with the driver's library
    assert machine("570.133.20", 0, init=9) == (0, "None")  # no driver loaded
    assert machine("570.133.20", 2, CUDA_VISIBLE_DEVICES="") == (0, "None")  # left alone on purpose
    assert machine("570.133.20", 2, cuda=None) == (0, "None")  # a CPU build of torch: a note, no error


def test_what_cuda_visible_devices_leaves() -> None:
    for listed, expected in (("0,1", 2), ("1", 1), ("", 0), ("-1", 0), ("0,7,1", 1), ("GPU-1f, GPU-2a", 2)):
        assert num_visible(4, {"CUDA_VISIBLE_DEVICES": listed}) == expected, listed
    assert num_visible(4, {}) == 4


def test_both_commands_stop_with_one_line(libraries, repository, tmp_path) -> None:
    """With a sitecustomize, because torch here is a CPU build."""
    (tmp_path / "sitecustomize.py").write_text(
        "from hint_grpo.machine import hardware\nhardware.torch_cuda = lambda: '13.0'\n"
    )
    model, data = tmp_path / "model", tmp_path / "data"
    for folder in (model, data):
        folder.mkdir()
    (model / "config.json").write_text("{}")
    (model / "preprocessor_config.json").write_text("{}")
    (model / "model.safetensors").write_text("weights")
    (data / "questions.jsonl").write_text("{}\n")
    fake = {"FAKE_DRIVER": "535.183.01", "FAKE_GPUS": "1", "FAKE_INIT": "0", "LD_LIBRARY_PATH": str(libraries)}
    environment = os.environ | fake | {"PYTHONPATH": f"{tmp_path}:{repository}"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    out = f"--data_path {data} --output_dir {tmp_path}/out"
    for command in (
        f"train_model.py --model_name_or_path {model} {out}",
        f"test_model.py --model_path {model} --prompt_path {data}/questions.jsonl {out}",
    ):
        words = [sys.executable, *command.split()]
        done = subprocess.run(words, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "its driver is 535.183.01" in done.stderr
