"""Monitoring of a run: stage timers, the watchdog, checks that stop a broken run, and stopping on a signal.

stages     what each process is doing, and how long it takes (`time/STAGE` in the logs)
watchdog   names the rank and the stage that hang
health     warns about, or stops, a broken run: unusable rewards, wrong weights in vLLM, steps without a training signal
stopping   SIGTERM, SIGUSR1 and Ctrl-C end the run after the current step, with a checkpoint
"""

import hint_grpo.machine.stack  # noqa: F401

import contextlib
import faulthandler
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate.utils import gather
from transformers import TrainerCallback

from hint_grpo.machine import interrupts
from hint_grpo.machine.files import replace_file
from hint_grpo.training.ledger import Record, never_correct

# ----------------------------------------------------------------------------------------------------
# Stage timers
#
# generate    sampling of all levels (with vLLM, scoring runs in parallel)
# score       the reward functions
# sync        sending the policy's weights to vLLM
# policy      forward passes of the policy
# reference   forward passes of the reference model
# update      backward pass and optimizer
# other       everything else: data, bookkeeping, logging

NAMES = ("generate", "score", "sync", "policy", "reference", "update")
OTHER = "other"


class Stages:
    """One process's stages. A stage inside another pauses the outer one's clock, so that no second is counted twice.

    `synchronize` waits for the GPU, so that work is counted in the stage that launched it.
    """

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        self.synchronize = synchronize
        self.seconds: dict[str, float] = {}
        self.num_changes = 0
        """Progress of this process; the watchdog compares ranks by it."""
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
        """Adds time that another thread spent (scoring in parallel to generation)."""
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Seconds of each stage since the last call."""
        with self._lock:
            taken, self.seconds = self.seconds, {}
        return {name: taken.get(name, 0.0) for name in NAMES}


# ----------------------------------------------------------------------------------------------------
# The watchdog: in a distributed run one process that hangs stops all others, and each of them only seems to wait.
#
# Every process regularly writes a heartbeat to OUTPUT_DIR/.stages. If one stage lasts longer than --stage_timeout, the rank
# with the least progress is the one that the others wait for: rank 0 names it, and that rank prints its stack.

FOLDER = ".stages"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A rank's state. `entered` (the stage) and `written` are wall-clock times in seconds."""

    rank: int
    stage: str
    num_changes: int
    entered: float
    written: float


def hanging(heartbeats: list[Heartbeat], now: float, timeout_s: float) -> list[Heartbeat]:
    """The ranks that the others wait for: those with the least progress, if they have been in one stage for too long."""
    if not heartbeats:
        return []
    least = min(heartbeat.num_changes for heartbeat in heartbeats)
    behind = [heartbeat for heartbeat in heartbeats if heartbeat.num_changes == least]
    return behind if now - max(heartbeat.entered for heartbeat in behind) > timeout_s else []


def describe(hung: list[Heartbeat], heartbeats: list[Heartbeat], now: float) -> str:
    parts = []
    for heartbeat in hung:
        silent = "" if now - heartbeat.written < 60 else f", no heartbeat for {now - heartbeat.written:.0f} s"
        parts.append(f"rank {heartbeat.rank} in stage '{heartbeat.stage}' for {now - heartbeat.entered:.0f} s{silent}")
    waiting = sorted(heartbeat.rank for heartbeat in heartbeats if heartbeat not in hung)
    others = f"; waiting for it: rank {', '.join(map(str, waiting))}" if waiting else ""
    return f"watchdog: no progress: {'; '.join(parts)}{others}"


class Watchdog:
    """A thread that monitors one rank's training."""

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
        with contextlib.suppress(OSError):  # another rank has not ended yet
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
        heartbeat = Heartbeat(self.rank, self.stages.name, self.stages.num_changes, entered, now)
        replace_file(self._file(self.rank), json.dumps(asdict(heartbeat)), durable=False)

    def _look(self) -> None:
        heartbeats = [heartbeat for rank in range(self.num_ranks) if (heartbeat := self._read(rank))]
        now = time.time()
        hung = hanging(heartbeats, now, self.timeout_s)
        if not hung or self._said_at == hung[0].num_changes:
            return
        self._said_at = hung[0].num_changes  # once per hang
        if self.rank == 0:
            print(describe(hung, heartbeats, now), file=sys.stderr, flush=True)
        if self.rank in [heartbeat.rank for heartbeat in hung]:
            print(f"watchdog: rank {self.rank} is here:", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)

    def _read(self, rank: int) -> Heartbeat | None:
        try:
            return Heartbeat(**json.loads(self._file(rank).read_text()))
        except FileNotFoundError:
            return None  # not started yet, or already ended


# ----------------------------------------------------------------------------------------------------
# Health: checks of rewards, weights and training signal

GAP_FACTOR = 3.0
GAP_MARGIN = 0.01  # log-probability per token; a gap of rounding alone (float32: 1e-6) must not count
GAP_STEPS_OF_REFERENCE = 5
GAP_PATIENCE = 5
GAP_REMIND_STEPS = 100  # how often a run that continues in spite of the gap is warned


class TrainingStopped(RuntimeError):
    """The run cannot continue; the message gives the reason and what to check."""


class RewardWatch:
    """Stops the run after `max_bad_steps` steps in a row without a single usable reward."""

    def __init__(self, max_bad_steps: int) -> None:
        self.max_bad_steps = max_bad_steps
        self.num_bad_steps = 0

    def look(self, rewards: Iterable[float]) -> int:
        """Checks a step's rewards of all ranks; returns how many of them are None, NaN or inf."""
        finite = [math.isfinite(reward) for reward in rewards]
        self.num_bad_steps = 0 if any(finite) else self.num_bad_steps + 1
        if self.num_bad_steps >= self.max_bad_steps:
            raise TrainingStopped(
                f"no reward function gave a usable reward for {self.num_bad_steps} steps in a row (None, NaN or inf for all "
                f"{len(finite)} completions): look at the reward functions and at OUTPUT_DIR/rollouts; "
                "--max_bad_steps sets how many such steps are tolerated"
            )
        return finite.count(False)


class GapWatch:
    """Compares vLLM's with the trainer's log-probabilities of the sampled tokens: mean |difference| per token, step by step.

    There are two limits. Rounding causes a constant gap, stale weights one that grows with every update: the first steps
    measure the rounding, and later gaps may exceed it by GAP_FACTOR. A gap that is large from the start does not grow, so no
    gap may exceed `max_gap` (--max_logp_gap).

    With `ahead` (--rollouts_ahead) every gap but the first step's has one update in it, of a size that is not known: those are
    only compared with each other.
    """

    def __init__(self, max_gap: float, *, stop: bool = True, ahead: bool = False) -> None:
        self.max_gap, self.stop, self.ahead = max_gap, stop, ahead
        self.first: list[float] = []
        self.num_wide = 0

    def look(self, gap: float, step: int) -> str | None:
        """A warning if the gap is too wide, else None; with `stop`, TrainingStopped after GAP_PATIENCE wide steps in a row."""
        if math.isnan(gap):
            return None
        usual = median(self.first) if self.first else math.inf
        with_update = self.ahead and step > 1
        if with_update and len(self.first) < GAP_STEPS_OF_REFERENCE:
            usual = math.inf
        if gap <= min(GAP_FACTOR * usual + GAP_MARGIN, math.inf if with_update else self.max_gap):
            self.num_wide = 0
            self.first = [*self.first, gap][:GAP_STEPS_OF_REFERENCE]
            return None
        self.num_wide += 1
        text = (
            f"step {step}: vLLM's and the trainer's log-probabilities differ by {gap:.4f} per token ({self._why(usual)}"
        )
        if self.num_wide >= GAP_PATIENCE and self.stop:
            raise TrainingStopped(f"{text}, for {self.num_wide} steps in a row; --stop_on_logp_gap false continues")
        often = self.num_wide <= GAP_PATIENCE or self.num_wide % GAP_REMIND_STEPS == 0
        return text if often else None

    def _why(self, usual: float) -> str:
        if math.isinf(usual):
            return (
                f"--max_logp_gap {self.max_gap:g}) from the first step on: vLLM may have other weights, another dtype or other "
                "prompts (picture size, hint) than the trainer"
            )
        return f"at first {usual:.4f}): the new weights may not have arrived in vLLM"


class SignalWatch:
    """Detects `patience` steps in a row without a valid group: nothing was learnt from them."""

    def __init__(self, patience: int, last_valid_step: int = 0) -> None:
        self.patience = patience
        self.last_valid_step = last_valid_step
        self.num_prompts = self.num_never_correct = 0  # since the last valid group

    def add(self, records: Sequence[Record], step: int) -> None:
        """Adds a batch's ledger records of all ranks; a step may have several batches."""
        if any(record["valid"] for record in records):
            self.last_valid_step, self.num_prompts, self.num_never_correct = step, 0, 0
        else:
            self.num_prompts += len(records)
            self.num_never_correct += sum(never_correct(record) for record in records)

    def end_step(self, step: int) -> str | None:
        """A warning after every `patience` steps without a valid group, else None."""
        num_steps = step - self.last_valid_step
        if num_steps < 1 or num_steps % self.patience or not self.num_prompts:
            return None
        share = self.num_never_correct / self.num_prompts
        return f"no valid group for {num_steps} steps in a row: nothing is learnt. {_what_to_check(share)}"


def _what_to_check(never_correct_share: float) -> str:
    if never_correct_share > 0.5:
        return (
            f"{never_correct_share:.0%} of the prompts had no correct completion at any hint level. Look in "
            "OUTPUT_DIR/rollouts: is the answer inside <answer> tags, is it cut off (completions/clipped_ratio, "
            "--max_completion_length), is a "
            "correct one scored as wrong (--scorer)? If all are really wrong, the questions are too hard for this model"
        )
    return (
        f"{1 - never_correct_share:.0%} of the prompts had a correct completion, but all completions of a group got the same "
        "reward: the questions may be too easy for this model, or the completions identical (--temperature)"
    )


class Health:
    """The three checks of a run, and the counters that a checkpoint stores."""

    def __init__(self, args: Any) -> None:
        """`args`: HintGRPOConfig."""
        self.rewards = RewardWatch(args.max_bad_steps)
        self.gap = GapWatch(args.max_logp_gap, stop=args.stop_on_logp_gap, ahead=bool(args.rollouts_ahead))
        self.signal = SignalWatch(args.warn_without_signal)

    def counters(self) -> dict[str, Any]:
        return {
            "num_bad_steps": self.rewards.num_bad_steps,
            "first_gaps": self.gap.first,
            "last_valid_step": self.signal.last_valid_step,
        }

    def restore(self, counters: dict[str, Any], step: int) -> None:
        """`counters` of a checkpoint after `step`; a checkpoint of an older version may lack some."""
        self.rewards.num_bad_steps = counters.get("num_bad_steps", 0)
        self.gap.first = counters.get("first_gaps", [])
        self.signal.last_valid_step = counters.get("last_valid_step", step)


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------------------
# Stopping: a cluster's warning (SIGTERM or SIGUSR1) and Ctrl-C end the run after the current step, with a checkpoint to resume
# from

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopOnSignal(TrainerCallback):
    """The ranks agree at the end of every step, since one of them may receive the signal earlier than the others."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.received = 0
        self.stopped_by = 0
        """Number of the signal that ended the run, the same on every rank; 0 if none did."""
        self._previous: dict[int, Any] = {}

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def _receive_ctrl_c(self) -> None:
        self.received = self.received or signal.SIGINT
        interrupts.say("Ctrl-C: stopping after this step, with a checkpoint; press it again to stop at once")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        interrupts.deferred_to(self._receive_ctrl_c)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        anywhere = gather(torch.tensor([self.received], device=self.device)).max().item()
        if anywhere:
            self.stopped_by = int(anywhere)
            args.save_only_model = False  # this checkpoint is for resuming
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        interrupts.deferred_to(None)
