"""What the checker did in this process, so that a time-out or a crash never hides behind a plain 0.0."""

import threading
from dataclasses import asdict, dataclass, fields


@dataclass
class Stats:
    """Counts since the process started or `reset_stats` was called; a forked child starts from zero."""

    scored: int = 0  # calls of score
    compared: int = 0  # sent to a worker process; the others were decided at once, or before
    timeouts: int = 0  # given up at the time limit; the score is 0.0
    crashes: int = 0  # the worker ran out of memory or died; the score is 0.0
    oversized: int = 0  # an <answer> too long to be one, or a completion of over a million characters; the score is 0.0


_stats = Stats()
_lock = threading.Lock()


def count(name: str) -> None:
    """Adds one to the counter `name`."""
    with _lock:
        setattr(_stats, name, getattr(_stats, name) + 1)


def stats() -> dict[str, int]:
    """The counters of this process by name; see `Stats` for their meaning."""
    with _lock:
        return asdict(_stats)


def reset_stats() -> None:
    """Sets every counter to zero."""
    with _lock:
        for field in fields(_stats):
            setattr(_stats, field.name, 0)


def after_fork_in_child() -> None:
    """A forked child counts for itself, and must not wait for a lock that a thread of its parent held."""
    global _stats, _lock
    _stats, _lock = Stats(), threading.Lock()
