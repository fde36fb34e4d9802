"""The CPU cores and GPUs at hand. Light to import."""

import os
from collections.abc import Mapping
from pathlib import Path


def available_cores() -> list[int]:
    """The CPU cores this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpu_names(num_gpus: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls this process's GPUs (`num_gpus`, as torch counts them), in CUDA's order."""
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:num_gpus] if named else map(str, range(num_gpus)))


def torchrun_chose_threads(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether OMP_NUM_THREADS is torchrun's default of one thread, which nobody asked for.

    torchrun is this process's parent; a user's own value is in the environment that torchrun was started with.
    """
    if "TORCHELASTIC_RUN_ID" not in environment or "OMP_NUM_THREADS" not in environment:
        return False
    try:
        started_with = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:  # not Linux: nothing tells the two apart
        return False
    return not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in started_with)
