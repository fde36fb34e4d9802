"""What the experiments here share: commands of this project's entry points, run with a log each, one per GPU or core.

A command that this module starts does not outlive it: on Linux it is told to end (SIGTERM, upon which a training writes a
checkpoint) when its parent is gone, however that ended.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

from hint_grpo.evaluation.pool import WorkerSlot, visible_gpus
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.hardware import available_cores
from hint_grpo.machine.processes import sigterm_when_parent_dies

ROOT = Path(__file__).resolve().parents[1]
LOG_LINES_SHOWN = 15
ANYWHERE = WorkerSlot()
SHARDING = ("deepspeed", "fsdp")
Job = TypeVar("Job")


def flag_words(flags: Mapping[str, Any]) -> list[str]:
    """{"scale": [0.0, 0.8], "bf16": True} -> --scale 0.0 0.8 --bf16 true; a None leaves its flag out."""
    words: list[str] = []
    for name, value in flags.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name}", *(str(one).lower() if isinstance(one, bool) else str(one) for one in values)]
    return words


def training_command(
    flags: Mapping[str, Any], *, recipe: Path | None = None, num_processes: int = 1, torchrun: bool = False
) -> list[str]:
    """train_model.py; under torchrun if it has several processes, or DeepSpeed or FSDP, which need its variables."""
    torchrun = torchrun or num_processes > 1 or any(str(flags.get(name, "none")) != "none" for name in SHARDING)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    launcher += ["--shutdown-timeout", "300"]  # time for the checkpoint that a SIGTERM asks for
    config = [] if recipe is None else ["--config", str(recipe)]
    return [sys.executable, *(launcher if torchrun else []), "train_model.py", *config, *flag_words(flags)]


def evaluation_command(flags: Mapping[str, Any], *, no_image: bool = False) -> list[str]:
    return [sys.executable, "test_model.py", *flag_words(flags), *(["--no_image"] if no_image else [])]


def toy_world_command(folder: Path, num_test: int | None = None) -> list[str]:
    return [sys.executable, "-m", "hint_grpo.toy", str(folder), *flag_words({"num_test": num_test})]


def small_slots() -> list[WorkerSlot]:
    """For toy models: the GPUs, one for each, or without a GPU the cores (a model this small is too small to share out)."""
    return [WorkerSlot(gpu=gpu) for gpu in visible_gpus()] or [WorkerSlot(cores=(core,)) for core in available_cores()]


def run(command: Sequence[str], log: Path, slot: WorkerSlot = ANYWHERE, keep_open: Sequence[int] = ()) -> None:
    """Runs a command of the project with its output at the end of `log`, on its slot: a GPU, or cores with a thread each.

    `keep_open`: file descriptors the command holds for as long as it lives (see `claim`).
    """

    def prepare() -> None:  # in the child, ahead of the command
        sigterm_when_parent_dies()
        if slot.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, slot.cores)

    log.parent.mkdir(parents=True, exist_ok=True)
    threads = {"OMP_NUM_THREADS": str(len(slot.cores))} if slot.cores else {}
    gpu = {"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu is not None else {}
    with log.open("a") as file:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | threads | gpu,
            preexec_fn=prepare,
            pass_fds=tuple(keep_open),
            check=False,
        )
    if done.returncode:
        print("\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]), file=sys.stderr)
        raise UserError(f"{log.stem} failed (exit code {done.returncode}); its whole output is in {log}")


def each_on_a_slot(work: Callable[[Job, WorkerSlot], None], jobs: Sequence[Job], slots: Sequence[WorkerSlot]) -> None:
    """`work(job, slot)` for every job, in order, as many at a time as there are slots.

    The first exception, Ctrl-C included, keeps jobs that have not begun from beginning, and is raised.
    """
    free: Queue[WorkerSlot] = Queue()
    for slot in slots:
        free.put(slot)

    def take(job: Job) -> None:
        slot = free.get()
        try:
            work(job, slot)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(len(slots)) as pool:
        futures = [pool.submit(take, job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def claim(folder: Path) -> Iterator[int]:
    """Waits until no process works on `folder` and holds it; yields the descriptor for commands to hold it too.

    A command whose parent was killed may still be writing its last checkpoint: whoever comes next waits for it.
    """
    import fcntl  # not on Windows, where the other modules still import

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the process that still writes to {folder}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
