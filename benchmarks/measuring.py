"""Peak memory of a function, a function in a fresh process, the time of training steps, the device's name."""

import hint_grpo.machine.stack  # noqa: F401

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from hint_grpo.training.monitoring import NAMES

STAGES = tuple(name for name in NAMES if name != "score")  # scoring runs beside sampling


def device_name() -> str:
    """The GPU, or how many cores PyTorch computes on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores"


def rss() -> int:
    """Resident memory of this process now, in bytes (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_of(run: Callable[[], Any]) -> int:
    """Peak memory while `run` runs, in bytes above what was in use before: of the GPU if there is one, else of the process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    # Without a GPU a thread samples the process's memory.
    before, peak, done = rss(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, rss())

    thread = threading.Thread(target=watch)
    thread.start()
    run()
    done.set()
    thread.join()
    return peak - before


def _send(out: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    out.send(function(*arguments))


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, called in a new process, so that memory in use by this one does not count."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(send, function, arguments))
    child.start()
    send.close()  # so that recv raises EOFError if the child dies
    value = receive.recv()
    child.join()
    return value


class StepTimes(TrainerCallback):
    """Seconds of every training step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)
