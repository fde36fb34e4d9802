"""What happens around the steps of a run, as transformers' callbacks: a clean start, logs, stage times, the watchdog."""

import hint_grpo.stack  # noqa: F401

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather
from transformers import TrainerCallback

from hint_grpo import checkpoints, ledger
from hint_grpo.health import warn
from hint_grpo.stages import NAMES
from hint_grpo.trainer import HintGRPOTrainer
from hint_grpo.watchdog import FOLDER, Watchdog

LOG_NAME = "log.jsonl"


class CleanStart(TrainerCallback):
    """Lines ledger, log and checkpoints up with the step at which training begins; drops a checkpoint never finished."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            for name in (ledger.FILE_NAME, LOG_NAME):
                ledger.start(folder / name, state.global_step)
            if aside := checkpoints.put_aside(folder, state.global_step):
                print(f"checkpoints of an earlier run are in {aside} now", flush=True)
            shutil.rmtree(checkpoints.unfinished_folder(folder), ignore_errors=True)


class LogFile(TrainerCallback):
    """Appends what is logged to OUTPUT_DIR/log.jsonl as it comes: readable while the run goes on, and after a kill."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs:
            ledger.append(Path(args.output_dir) / LOG_NAME, [{"step": state.global_step, **logs}])


class StageTimes(TrainerCallback):
    """Logs `time/STAGE`, seconds of each step, of the rank that took longest."""

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
        seconds = torch.tensor([[taken[name] for name in NAMES]], device=self.trainer.accelerator.device)
        slowest = gather(seconds).max(dim=0).values.tolist()
        for name, value in zip(NAMES, slowest, strict=True):
            self.trainer._metrics["train"][f"time/{name}"].append(value)


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
