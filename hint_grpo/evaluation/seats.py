"""Where the decoding processes run: one per GPU, or on the CPU one process (or --num_processes)."""

from collections.abc import Sequence
from functools import cache

from hint_grpo.errors import UserError
from hint_grpo.evaluation.pool import Seat
from hint_grpo.machine import available_cores, gpu_names


def choose_seats(gpu_ids: Sequence[int] | None, num_processes: int | None = None) -> list[Seat]:
    """All visible GPUs, or those of --gpu_ids; without a GPU, `num_processes` CPU processes (default: one)."""
    gpus = visible_gpus()
    check_seats(gpu_ids, num_processes, len(gpus))
    if not gpus:
        return cpu_seats(num_processes or 1)
    return [Seat(gpu=gpus[gpu]) for gpu in (gpu_ids or range(len(gpus)))]


def check_seats(gpu_ids: Sequence[int] | None, num_processes: int | None, num_gpus: int) -> None:
    """Raises UserError for GPUs that are not there."""
    if num_gpus == 0 and gpu_ids:
        names = ",".join(map(str, gpu_ids))
        raise UserError(f"--gpu_ids {names}: no GPU can be used here; leave it out (--num_processes N: CPU processes)")
    if num_gpus and num_processes is not None:
        raise UserError("--num_processes is for machines without a GPU: here there is one process per GPU (--gpu_ids)")
    for gpu in gpu_ids or ():
        if gpu >= num_gpus:
            raise UserError(f"--gpu_ids names GPU {gpu}, but {num_gpus} are visible: 0 to {num_gpus - 1}")


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
