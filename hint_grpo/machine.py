"""The CPU cores and GPUs at hand. Light to import."""

import os
from collections.abc import Mapping


def available_cores() -> list[int]:
    """The CPU cores this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpu_names(num_gpus: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls this process's GPUs (`num_gpus`, as torch counts them), in CUDA's order."""
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:num_gpus] if named else map(str, range(num_gpus)))
