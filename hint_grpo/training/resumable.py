"""ResumableTrainer: TRL's GRPOTrainer with atomic checkpoints from which a run resumes exactly.

TRL's checkpoints omit two things that decide what a resumed run sees: the order of the data in later epochs, and completions that
were sampled but not trained on yet. They are also written in place, so that a kill leaves half a checkpoint behind. The files are
those of `hint_grpo.training.checkpoints`.
"""

import hint_grpo.machine.stack  # noqa: F401

from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers.trainer_utils import rotate_checkpoints
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from hint_grpo.training import checkpoints
from hint_grpo.training.monitoring import Health


class EpochSampler(RepeatSampler):
    """RepeatSampler whose order follows from seed and epoch, so that a resumed run sees what it would have seen.

    TRL's draws every epoch's order from one generator: a resume in epoch 2 would replay epoch 1.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class ResumableTrainer(GRPOTrainer):
    """`samples` is the training set as the user gave it (it identifies the run), `health` holds counters that a resume keeps."""

    def __init__(self, *args: Any, samples: Dataset, health: Health, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.health = health
        self._samples = samples
        self._saving = False

    def save_more(self, folder: Path) -> None:
        """Called on every rank while a checkpoint is written into `folder`: for files of a subclass."""

    def restore_more(self, folder: Path, step: int) -> None:
        """Called when a run is resumed from the checkpoint `folder`, after `step`: for a subclass."""

    def rows_of_batch(self, number: int) -> list[int]:
        """This rank's rows of the data in the sampled batch `number`, which counts from 0 over all epochs.

        The data loader cuts the sampler's indices into batches and gives them to the ranks in turn; a batch of all ranks has
        each of its rows num_generations times, next to each other.
        """
        num_prompts = self.args.generation_batch_size // self.num_generations  # of all ranks
        epoch, place = divmod(number, len(self.train_dataset) // num_prompts)
        sampler = self._get_train_sampler()
        sampler.set_epoch(epoch)
        repeats = self.num_iterations * self.args.steps_per_generation * self.num_generations
        first = place * num_prompts * repeats
        rows = list(islice(sampler, first, first + num_prompts * self.num_generations, self.num_generations))
        own = num_prompts // self.accelerator.num_processes
        return rows[self.accelerator.process_index * own :][:own]

    @cached_property
    def identity(self) -> checkpoints.RunIdentity:
        """Reads every sample once: made when the first checkpoint is written, by the process that writes it."""
        return checkpoints.RunIdentity.of(self._samples, self.args)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> EpochSampler:
        return EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )

    # --- writing ---

    def _get_output_dir(self, trial: Any) -> str:
        output_dir = super()._get_output_dir(trial)
        return str(checkpoints.unfinished_folder(Path(output_dir))) if self._saving else output_dir

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Writes the checkpoint to a temporary folder, which is renamed when every rank has finished writing."""
        name = checkpoints.checkpoint_name(self.state.global_step)
        folder = checkpoints.unfinished_folder(Path(self.args.output_dir)) / name
        self._saving = True
        super()._save_checkpoint(model, trial)
        self._saving = False
        # Between two generations: completions of the current one are still to be trained on.
        if self._buffered_inputs is not None and self._step % (self.args.steps_per_generation * self.num_iterations):
            checkpoints.save_rollouts(folder, self.accelerator.process_index, self._buffered_inputs)
        self.save_more(folder)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            counters = {"micro_steps": self._step} | self.health.counters()
            checkpoints.write_identity(folder, self.identity, counters)
            checkpoints.publish(folder, Path(self.args.output_dir))
            rotate_checkpoints(
                output_dir=self.args.output_dir, save_total_limit=self.args.save_total_limit, use_mtime=True
            )
        self.accelerator.wait_for_everyone()

    # --- reading ---

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads with `from_pretrained`. transformers' Trainer looks in the file for the names in memory (model.visual.*), but a
        checkpoint has the family's published names (visual.*): it finds none and continues with the initial weights."""
        model = self.model if model is None else model
        if is_peft_model(model) or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        stored = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(stored.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            folder = Path(checkpoint)
            written = checkpoints.read_identity(folder)
            self._step = written.get("micro_steps", self.state.global_step * self.args.gradient_accumulation_steps)
            self.health.restore(written, self.state.global_step)
            self.restore_more(folder, self.state.global_step)
            self._buffered_inputs = checkpoints.load_rollouts(
                folder, self.accelerator.process_index, self.accelerator.device
            )
