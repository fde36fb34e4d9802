"""What `evidence` and `reproduce` share: commands of this project's entry points, and running them, one per GPU or core.

Every command has its own log. On Linux a command gets SIGTERM when its parent ends, even after a crash or a kill; a training
then writes a checkpoint and ends.
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
LOG_LINES_SHOWN = 15  # of a failed command's log
ANYWHERE = WorkerSlot()  # not bound to a GPU or to cores
SHARDING = ("deepspeed", "fsdp")  # flags that need torchrun
Job = TypeVar("Job")

# ----------------------------------------------------------------------------------------------------
# Commands


def flag_words(flags: Mapping[str, Any]) -> list[str]:
    """{"scale": [0.0, 0.8], "bf16": True} -> --scale 0.0 0.8 --bf16 true; flags that are None are left out."""
    words: list[str] = []
    for name, value in flags.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name}", *(str(one).lower() if isinstance(one, bool) else str(one) for one in values)]
    return words


def training_command(
    flags: Mapping[str, Any], *, recipe: Path | None = None, num_processes: int = 1, torchrun: bool = False
) -> list[str]:
    """train_model.py with these flags.

    Under torchrun if `torchrun` is set, with several processes, and for DeepSpeed and FSDP, which need its environment
    variables. recipe: a file for --config, relative to ROOT.
    """
    torchrun = torchrun or num_processes > 1 or any(flags.get(name) not in (None, "none") for name in SHARDING)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    launcher += ["--shutdown-timeout", "300"]  # seconds: time to write a checkpoint after SIGTERM
    config = [] if recipe is None else ["--config", str(recipe)]
    return [sys.executable, *(launcher if torchrun else []), "train_model.py", *config, *flag_words(flags)]


def evaluation_command(flags: Mapping[str, Any], *, no_image: bool = False) -> list[str]:
    """test_model.py with these flags."""
    return [sys.executable, "test_model.py", *flag_words(flags), *(["--no_image"] if no_image else [])]


def toy_world_command(folder: Path, num_test: int | None = None) -> list[str]:
    """python -m hint_grpo.toy, which writes a toy world with `num_test` questions (None: its default)."""
    return [sys.executable, "-m", "hint_grpo.toy", str(folder), *flag_words({"num_test": num_test})]


# ----------------------------------------------------------------------------------------------------
# Running them


def small_slots() -> list[WorkerSlot]:
    """Slots for toy models: one per GPU, or without a GPU one per core (more cores would not speed up such a small model)."""
    return [WorkerSlot(gpu=gpu) for gpu in visible_gpus()] or [WorkerSlot(cores=(core,)) for core in available_cores()]


def run(command: Sequence[str], log: Path, slot: WorkerSlot = ANYWHERE, keep_open: Sequence[int] = ()) -> None:
    """Runs a command of the project in its slot: a GPU, or cores with a thread each. Waits until it ends.

    Its output is appended to `log`. keep_open: file descriptors that the command keeps open until it ends (see `claim`).
    Raises UserError for an exit code other than 0, after printing the last lines of the log.
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
    """Calls `work(job, slot)` for every job, in order, as many at a time as there are slots; no two share a slot.

    After the first exception, Ctrl-C included, no further job starts, and the exception is raised.
    """
    free: Queue[WorkerSlot] = Queue()
    for slot in slots:
        free.put(slot)

    def run_job(job: Job) -> None:
        slot = free.get()
        try:
            work(job, slot)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(len(slots)) as pool:
        futures = [pool.submit(run_job, job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def claim(folder: Path) -> Iterator[int]:
    """Holds a lock on `folder`, waiting until it is free; yields the lock's file descriptor.

    Pass the descriptor to the commands that work on the folder (`keep_open`), so that they hold the lock too: a command
    whose parent was killed may still be writing its last checkpoint, and the next run must wait for it.
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
