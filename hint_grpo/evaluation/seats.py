"""Where the decoding processes run: one per GPU, or on the CPU one process (or as many as --gpu_ids names)."""

from collections.abc import Sequence
from functools import cache

from hint_grpo.errors import UserError
from hint_grpo.evaluation.pool import Seat
from hint_grpo.machine import available_cores, gpu_names


def choose_seats(gpu_ids: Sequence[int] | None) -> list[Seat]:
    """All visible GPUs, or those of --gpu_ids; without a GPU, one CPU process per entry of --gpu_ids, or one."""
    gpus = visible_gpus()
    if not gpus:
        return cpu_seats(len(gpu_ids) if gpu_ids else 1)
    for gpu in gpu_ids or ():
        if gpu >= len(gpus):
            raise UserError(f"--gpu_ids names GPU {gpu}, but {len(gpus)} are visible: 0 to {len(gpus) - 1}")
    return [Seat(gpu=gpus[gpu]) for gpu in (gpu_ids or range(len(gpus)))]


@cache
def visible_gpus() -> tuple[str, ...]:
    """The GPUs that a process may be given; --gpu_ids counts within them, as torch does."""
    import torch  # only now: --help and a run with nothing to decode do without it

    return gpu_names(torch.cuda.device_count())


def cpu_seats(count: int) -> list[Seat]:
    """`count` processes that share the cores evenly; one process, or more processes than cores, are left unbound."""
    cores = available_cores()
    if count == 1 or len(cores) < count:
        return [Seat() for _ in range(count)]
    return [Seat(cores=tuple(cores[number::count])) for number in range(count)]
