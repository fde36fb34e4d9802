"""What a training process is doing, and for how long: the stage timer in the logs, and what the watchdog looks at.

generate    sampling of all levels (with vLLM, scoring goes on beside it)
score       the reward functions
sync        the policy's weights on their way to vLLM
policy      forward passes of the policy
reference   forward passes of the reference model
update      backward pass and optimizer
other       everything between: data, bookkeeping, logging
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = ("generate", "score", "sync", "policy", "reference", "update")
OTHER = "other"


class Stages:
    """One process's stages. A stage inside another stops the outer one's clock: no second is counted twice.

    `synchronize` waits for the GPU, so that a stage's work is counted where it was asked for.
    """

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        self.synchronize = synchronize
        self.seconds: dict[str, float] = {}
        self.num_changes = 0
        """How far this process has come; the watchdog compares ranks by it."""
        self.name = OTHER
        self.since = self._mark = time.monotonic()
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        outer = self.name
        self._enter(name)
        try:
            yield
        finally:
            self.synchronize()
            self._enter(outer)

    def _enter(self, name: str) -> None:
        now = time.monotonic()
        self.add(self.name, now - self._mark)
        self._mark = self.since = now
        self.name = name
        self.num_changes += 1

    def add(self, name: str, seconds: float) -> None:
        """Counts time that another thread spent (scoring beside generation)."""
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Seconds of each stage since the last call."""
        with self._lock:
            taken, self.seconds = self.seconds, {}
        return {name: taken.get(name, 0.0) for name in NAMES}
