"""transformers callbacks around the steps of a run: a clean start, log.jsonl, report.html, stage times, the watchdog,
the progress bar."""

import hint_grpo.machine.stack  # noqa: F401

import logging
import shutil
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import torch
from accelerate.utils import gather
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hint_grpo.machine.report_process import ReportProcess
from hint_grpo.training import checkpoints, ledger, rollout_log
from hint_grpo.training.monitoring import FOLDER, NAMES, Watchdog, warn
from hint_grpo.training.trainer import HintGRPOTrainer


class CleanStart(TrainerCallback):
    """Truncates ledger, log and rollouts to the step at which training begins, moves later checkpoints aside, deletes an
    unfinished one and the mark of a finished run."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            for name in (ledger.FILE_NAME, ledger.LOG_NAME):
                ledger.start(folder / name, state.global_step)
            rollout_log.start(folder / rollout_log.FOLDER, state.global_step)
            if aside := checkpoints.put_aside(folder, state.global_step):
                print(f"checkpoints of an earlier run were moved to {aside}", flush=True)
            (folder / checkpoints.STATE_FILE).unlink(missing_ok=True)  # it marks a finished run
            shutil.rmtree(checkpoints.unfinished_folder(folder), ignore_errors=True)


class LogFile(TrainerCallback):
    """Appends each log entry to OUTPUT_DIR/log.jsonl, which can be read during the run and after a kill."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs:
            ledger.append(Path(args.output_dir) / ledger.LOG_NAME, [{"step": state.global_step, **logs}])


class Page(TrainerCallback):
    """Rewrites OUTPUT_DIR/report.html every `--report_every` steps, in a process beside the training."""

    def __init__(self, args: Any) -> None:
        self.process = ReportProcess(Path(args.output_dir))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and args.report_every and state.global_step % args.report_every == 0:
            self.process.start()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.process.stop()  # the last page follows (hint_grpo.training.run)


class StageTimes(TrainerCallback):
    """Logs `time/STAGE`: seconds per step, of the slowest rank; on GPUs also `memory/peak_gib`, of the rank with the most."""

    def __init__(self, trainer: HintGRPOTrainer) -> None:
        self.trainer = trainer
        self.update: Any = None

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.update = self.trainer.stages("update")
        self.update.__enter__()

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.update.__exit__(None, None, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        taken = self.trainer.stages.take()
        values = {f"time/{name}": taken[name] for name in NAMES}
        if torch.cuda.is_available():
            # Since the last step. Of PyTorch's allocator: not the memory of a vLLM with sleep mode, which has its own.
            values["memory/peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
            torch.cuda.reset_peak_memory_stats()
        highest = (
            gather(torch.tensor([list(values.values())], device=self.trainer.accelerator.device)).max(dim=0).values
        )
        for name, value in zip(values, highest.tolist(), strict=True):
            self.trainer._metrics["train"][name].append(value)


class SignalCheck(TrainerCallback):
    """Warns when no group has been valid for `--warn_without_signal` steps."""

    def __init__(self, trainer: HintGRPOTrainer) -> None:
        self.watch = trainer.health.signal

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (warning := self.watch.end_step(state.global_step)) and state.is_world_process_zero:
            warn(warning)


class Watched(TrainerCallback):
    """Runs a watchdog from the first step to the last."""

    def __init__(self, trainer: HintGRPOTrainer) -> None:
        accelerator, args = trainer.accelerator, trainer.args
        self.watchdog = Watchdog(
            trainer.stages,
            Path(args.output_dir) / FOLDER,
            accelerator.process_index,
            accelerator.num_processes,
            args.stage_timeout,
        )

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.watchdog.start()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.watchdog.stop()


# ----------------------------------------------------------------------------------------------------
# The progress bar, with the metrics in SHOWN instead of printed dicts; messages appear above it

SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "hint/data_utilization": "valid",
    "hint/mean_level": "level",
    "hint/never_correct": "never_correct",
}


class AboveBar:
    """A text stream that clears the bar for each of its lines and draws it again below."""

    def __init__(self, stream: TextIO, bar: tqdm) -> None:
        self._stream, self._bar = stream, bar
        self._line = ""

    def write(self, text: str) -> int:
        head, newline, tail = (self._line + text).rpartition("\n")
        self._line = tail
        if newline:
            self._put(head + newline)
        return len(text)

    def close_line(self) -> None:
        """Writes the last line if it has no line end yet."""
        if self._line:
            self._put(self._line + "\n")
            self._line = ""

    def _put(self, lines: str) -> None:
        with self._bar.get_lock():
            self._bar.clear(nolock=True)
            self._stream.write(lines)
            self._stream.flush()
            self._bar.refresh(nolock=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def loggers_streams() -> list[logging.StreamHandler[Any]]:
    """Every handler of every logger that writes to a stream; libraries keep the one that was there when they set up."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {handler for logger in loggers for handler in getattr(logger, "handlers", [])}
    # Without `stream` in its variables, a handler looks sys.stderr up for each message (logging's last resort).
    return [handler for handler in handlers if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler)]


class ProgressBar(TrainerCallback):
    """Shows the latest value of each metric in SHOWN; the main process only. `close` it after training, however that ended."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.latest: dict[str, float] = {}
        self._redirected = ExitStack()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step")
            self._redirect(self.bar)

    def _redirect(self, bar: tqdm) -> None:
        above = {stream: AboveBar(stream, bar) for stream in (sys.stdout, sys.stderr)}
        for handler in loggers_streams():
            if handler.stream in above:
                self._redirected.callback(handler.setStream, handler.stream)
                handler.setStream(above[handler.stream])
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            self._redirected.enter_context(redirect(above[stream]))  # type: ignore[type-var]
            self._redirected.callback(above[stream].close_line)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.bar is None:
            return
        self.latest |= {
            short: logs[name] for name, short in SHOWN.items() if logs and isinstance(logs.get(name), float)
        }
        self.bar.set_postfix({short: f"{value:.3f}" for short, value in self.latest.items()})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """The bar stays as it is, and messages go where they went before it."""
        self._redirected.close()
        if self.bar is not None:
            self.bar.close()
            self.bar = None
