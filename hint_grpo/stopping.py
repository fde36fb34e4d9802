"""A cluster's warning (SIGTERM, or SIGUSR1) ends the run after the present step, with a checkpoint that can be resumed."""

import hint_grpo.stack  # noqa: F401

import signal
from typing import Any

import torch
from accelerate.utils import gather
from transformers import TrainerCallback

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopOnSignal(TrainerCallback):
    """The ranks agree at the end of every step: one of them may have heard the signal before the others."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.received = 0
        self.stopped = False
        self._previous: dict[int, Any] = {}

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        anywhere = gather(torch.tensor([self.received], device=self.device)).max().item()
        if anywhere:
            self.stopped = True
            args.save_only_model = False  # this checkpoint is there to be resumed
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
