"""The CPU cores, GPUs, NVIDIA driver and installed packages of this machine. Light to import; queries NVML, which needs no CUDA
context."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hint_grpo.machine.errors import UserError

# CUDA's major version -> the oldest Linux driver for it (NVIDIA, CUDA Compatibility, Minor Version Compatibility).
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
VERSION_MISMATCH = 18  # NVML_ERROR_LIB_RM_VERSION_MISMATCH: the driver was updated and the machine not restarted
TO_RUN_WITHOUT_GPU = "to run on the CPU, set CUDA_VISIBLE_DEVICES to nothing"


@dataclass(frozen=True, slots=True)
class Driver:
    """`version` as NVML reports it, such as "580.65.06"; `problem`: why NVML could not be used, None if it could."""

    version: str
    num_gpus: int
    problem: str | None = None


def available_cores() -> list[int]:
    """The CPU cores this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpu_names(num_gpus: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The names of this process's GPUs in CUDA_VISIBLE_DEVICES, in CUDA's order; `num_gpus` as torch counts them."""
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:num_gpus] if named else map(str, range(num_gpus)))


def torchrun_chose_threads(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether OMP_NUM_THREADS is torchrun's default of one thread and not the user's choice.

    torchrun is this process's parent; a user's value is in the environment that torchrun was started with.
    """
    if "TORCHELASTIC_RUN_ID" not in environment or "OMP_NUM_THREADS" not in environment:
        return False
    try:
        started_with = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:  # not Linux: the two cannot be distinguished
        return False
    return not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in started_with)


def under_torchrun() -> bool:
    """Whether torchrun, accelerate or DeepSpeed's launcher started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def num_local_processes() -> int:
    """Processes of this run on this node, from the variables of torchrun or DeepSpeed's launcher."""
    count = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE")
    if count is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "the launcher sets no LOCAL_WORLD_SIZE: start train_model.py with torchrun, accelerate or deepspeed"
        )
    return int(count or "1")


@cache
def driver() -> Driver | None:
    """The NVIDIA driver; None if the machine has none."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    code = nvml.nvmlInit_v2()
    if code == VERSION_MISMATCH:
        return Driver(_loaded_driver(), 1, "its library and its kernel module differ: restart the machine")
    if code:  # a driver without a GPU: a login node, a container
        return None
    text, count = ctypes.create_string_buffer(96), ctypes.c_uint(0)
    nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    nvml.nvmlShutdown()
    return Driver(text.value.decode(), count.value)


def _loaded_driver() -> str:
    file = Path("/proc/driver/nvidia/version")
    found = re.search(r"\d+\.\d+(\.\d+)?", file.read_text()) if file.is_file() else None
    return found.group() if found else "unknown"


@cache
def torch_cuda() -> str | None:
    """The CUDA version that torch was built with, such as "13.0"; None for a CPU build. Does not import torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"^cuda\b.*=\s*'([\d.]+)'", text, re.MULTILINE)
    return found.group(1) if found else None


def num_visible(num_gpus: int, environment: Mapping[str, str] = os.environ) -> int:
    """How many of the machine's GPUs CUDA_VISIBLE_DEVICES leaves; like CUDA, it stops at the first index that is wrong."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return num_gpus
    names = [name.strip() for name in listed.split(",")]
    count = 0
    for name in names:
        if not (int(name) < num_gpus if name.isdecimal() else name.startswith(("GPU-", "MIG-"))):
            break
        count += 1
    return count


def count_gpus() -> int:
    """The GPUs that torch can use here, without importing it."""
    if "torch" in sys.modules:
        return sys.modules["torch"].cuda.device_count()
    found = driver()
    return num_visible(found.num_gpus) if found is not None and torch_cuda() is not None else 0


def gpu_problem() -> str | None:
    """Why this machine's GPU cannot be used, in one line; None if it can, or if there is no GPU."""
    found = driver()
    if found is None or not num_visible(found.num_gpus):
        return None
    cuda = torch_cuda()
    if found.problem:
        return f"the NVIDIA driver {found.version} cannot be used: {found.problem}; {TO_RUN_WITHOUT_GPU}"
    if cuda is None:
        return None
    major = int(cuda.split(".")[0])
    needed = OLDEST_DRIVER.get(major, 0)
    if int(found.version.split(".")[0]) < needed and _cuda_of_driver() < 1000 * major:
        return (
            f"a GPU is present, but its driver is {found.version} and the installed torch (CUDA {cuda}) needs R{needed} or "
            f"newer: update the driver, or {TO_RUN_WITHOUT_GPU}"
        )
    return None


def _cuda_of_driver() -> int:
    """The newest CUDA version that libcuda supports, such as 13000 (NVIDIA's compatibility package raises it); 0: no libcuda."""
    version = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def check_gpus() -> None:
    """Raises UserError if this machine's GPU cannot be used; prints a note if torch is a CPU build and would ignore it."""
    problem = gpu_problem()
    if problem:
        raise UserError(problem)
    found = driver()
    if found is not None and num_visible(found.num_gpus) and torch_cuda() is None:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(
                f"note: a GPU is present (driver {found.version}), but the installed torch is a CPU build; "
                "to install the CUDA build: rm -r .venv && make STACK=cuda demo",
                file=sys.stderr,
            )
        return
    if "torch" in sys.modules and found is not None and num_visible(found.num_gpus):
        torch = sys.modules["torch"]
        if not torch.cuda.is_available():
            try:
                torch.cuda.init()
                reason = "torch.cuda.is_available() is false"
            except (RuntimeError, AssertionError) as error:
                reason = str(error)
            raise UserError(
                f"a GPU is present (driver {found.version}), but torch cannot use it: {reason}; {TO_RUN_WITHOUT_GPU}"
            )


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed, by name."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


# ----------------------------------------------------------------------------------------------------
# The machine in words, for the record of a run. What cannot be found out is left out.


@cache
def describe_machine() -> str:
    """Such as "AMD EPYC 9654, 16 of 192 cores, 1511 GiB of memory, 8 x NVIDIA H100 80GB HBM3"."""
    cores, total = len(available_cores()), os.cpu_count() or 1
    parts = [cpu_model(), f"{cores} of {total} cores" if cores < total else f"{total} core{'s' if total > 1 else ''}"]
    with contextlib.suppress(ValueError, OSError, AttributeError):  # not on every system
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory")
    models = gpu_models()
    parts += [f"{count} x {model}" for model, count in Counter(models).items()]
    if (visible := num_visible(len(models))) < len(models):
        parts.append(f"{visible} of them in use")
    return ", ".join(filter(None, parts))


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name on Linux; elsewhere its architecture."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    found = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def gpu_models() -> list[str]:
    """The names of all NVIDIA GPUs of the machine, by NVML's index; [] if NVML cannot be used."""
    found = driver()
    if found is None or found.problem:
        return []
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    names = []
    nvml.nvmlInit_v2()
    for index in range(found.num_gpus):
        device, text = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) == 0:
            nvml.nvmlDeviceGetName(device, text, ctypes.c_uint(len(text)))
            names.append(text.value.decode(errors="replace"))
    nvml.nvmlShutdown()
    return names
