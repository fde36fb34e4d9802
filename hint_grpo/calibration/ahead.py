"""Prepares questions ahead of the engine, in a thread: the engine decodes while the next pictures are opened and processed.

    with Ahead(requests, prepare) as ahead:
        first = next(ahead)

The results come in the order of the items and are those of `prepare(item)`, called once per item by one thread, so what the
engine gets does not depend on timing. At most `depth` results wait: the thread pauses when the engine is the slower one.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")

DEPTH = 8
"""Prepared questions that may wait. A picture of a million pixels is 12 MB of processor output."""
POLL_S = 0.1


class Ahead(Generic[Item, Prepared]):
    """An iterator over the prepared items, in order; an exception of `prepare` is raised here, at the item's place.

    Leaving the `with` block ends the thread: it finishes the item it is at, and no further one is begun.
    """

    def __init__(self, items: Iterable[Item], prepare: Callable[[Item], Prepared], depth: int = DEPTH) -> None:
        self._results: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._ended = False
        # A daemon, so that an iterator that nobody closed does not keep the process alive.
        self._thread = threading.Thread(target=self._run, args=(items, prepare), name="prepare", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Ahead[Item, Prepared]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Prepared]:
        return self

    def __next__(self) -> Prepared:
        if self._ended:
            raise StopIteration
        kind, value = self._results.get()
        if kind == "prepared":
            return value
        self._ended = True
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> int:
        """Ends the thread and returns how many results nobody took."""
        self._stopped.set()
        self._ended = True
        num_left = 0
        while self._thread.is_alive() or not self._results.empty():
            try:
                kind, _ = self._results.get(timeout=POLL_S)
            except queue.Empty:
                continue
            num_left += kind == "prepared"
        return num_left

    def _run(self, items: Iterable[Item], prepare: Callable[[Item], Prepared]) -> None:
        try:
            for item in items:
                if self._stopped.is_set():
                    return
                self._results.put(("prepared", prepare(item)))
            self._results.put(("end", None))
        except BaseException as error:  # whatever it is, it belongs to the thread that asked
            self._results.put(("error", error))
