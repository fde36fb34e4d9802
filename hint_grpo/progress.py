"""What a user watches: one progress bar with the metrics of SHOWN, instead of printed dicts."""

from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "hint/data_utilization": "valid",
    "hint/mean_level": "level",
    "hint/never_correct": "never_correct",
}


class ProgressBar(TrainerCallback):
    """Shows the latest value of each metric in SHOWN; the main process only."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.latest: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step")

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
        if self.bar is not None:
            self.bar.close()
            self.bar = None
