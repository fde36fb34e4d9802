"""Names the rank and the stage that hang: in a distributed run one silent process stops all, and each of them only waits.

Every process writes a sign of life to OUTPUT_DIR/.stages now and then. Where one stage lasts longer than --stage_timeout, the
rank that is least far is the one the others wait for: rank 0 says which it is, and that rank prints where it stands.
"""

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hint_grpo.stages import Stages

FOLDER = ".stages"


@dataclass(frozen=True, slots=True)
class Sign:
    """A rank's sign of life. `written` and `entered` are times of the wall clock, in seconds."""

    rank: int
    stage: str
    num_changes: int
    entered: float
    written: float


def hanging(signs: list[Sign], now: float, timeout_s: float) -> list[Sign]:
    """The ranks the others wait for: those least far, where they have been in one stage for too long."""
    if not signs:
        return []
    least = min(sign.num_changes for sign in signs)
    behind = [sign for sign in signs if sign.num_changes == least]
    return behind if now - max(sign.entered for sign in behind) > timeout_s else []


def describe(hung: list[Sign], signs: list[Sign], now: float) -> str:
    parts = []
    for sign in hung:
        silent = "" if now - sign.written < 60 else f", no sign of life for {now - sign.written:.0f} s"
        parts.append(f"rank {sign.rank} in stage '{sign.stage}' for {now - sign.entered:.0f} s{silent}")
    waiting = sorted(sign.rank for sign in signs if sign not in hung)
    others = f"; waiting for it: rank {', '.join(map(str, waiting))}" if waiting else ""
    return f"watchdog: no progress: {'; '.join(parts)}{others}"


class Watchdog:
    """A thread beside the training of one rank."""

    def __init__(self, stages: Stages, folder: Path, rank: int, num_ranks: int, timeout_s: float) -> None:
        self.stages, self.folder, self.rank, self.num_ranks = stages, folder, rank, num_ranks
        self.timeout_s = timeout_s
        self._done = threading.Event()
        self._said_at = -1
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._file(self.rank).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another rank is not at its end yet
            self.folder.rmdir()

    def _file(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.json"

    def _watch(self) -> None:
        while not self._done.wait(min(10.0, self.timeout_s / 4)):
            self._write()
            self._look()

    def _write(self) -> None:
        now = time.time()
        entered = now - (time.monotonic() - self.stages.since)
        sign = Sign(self.rank, self.stages.name, self.stages.num_changes, entered, now)
        temporary = self._file(self.rank).with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(sign)))
        os.replace(temporary, self._file(self.rank))

    def _look(self) -> None:
        signs = [sign for rank in range(self.num_ranks) if (sign := self._read(rank))]
        now = time.time()
        hung = hanging(signs, now, self.timeout_s)
        if not hung or self._said_at == hung[0].num_changes:
            return
        self._said_at = hung[0].num_changes  # once per hang
        if self.rank == 0:
            print(describe(hung, signs, now), file=sys.stderr, flush=True)
        if self.rank in [sign.rank for sign in hung]:
            print(f"watchdog: rank {self.rank} stands here:", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)

    def _read(self, rank: int) -> Sign | None:
        try:
            return Sign(**json.loads(self._file(rank).read_text()))
        except FileNotFoundError:
            return None  # not started yet, or at its end
