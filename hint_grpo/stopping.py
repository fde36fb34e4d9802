"""A cluster's warning (SIGTERM, or SIGUSR1) and Ctrl-C end the run after the present step, with a checkpoint to resume from."""

import hint_grpo.stack  # noqa: F401

import signal
from typing import Any

import torch
from accelerate.utils import gather
from transformers import TrainerCallback

from hint_grpo import interrupts

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopOnSignal(TrainerCallback):
    """The ranks agree at the end of every step: one of them may have received the signal before the others."""

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
            args.save_only_model = False  # this checkpoint is there to be resumed
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        interrupts.deferred_to(None)
