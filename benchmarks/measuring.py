"""Peak memory of a piece of work, work in a process of its own, the time of training steps."""

import hint_grpo.machine.stack  # noqa: F401

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback


def rss() -> int:
    """Bytes that this process holds in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_of(run: Callable[[], Any]) -> int:
    """Bytes that `run` held at most, above what was held before it: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
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


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(send, function, arguments))
    child.start()
    send.close()
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
