"""The stages of train_model.py. Each takes what the one before it gave; nothing loads a model before `make_trainer`."""

import hint_grpo.stack  # noqa: F401

from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoProcessor, PrinterCallback, ProgressCallback, TrainerCallback
from trl import ModelConfig, get_peft_config

from hint_grpo import ledger
from hint_grpo.config import HintGRPOConfig, ScriptArguments
from hint_grpo.data.dataset import DataReport, load_training_data
from hint_grpo.data.preflight import preflight, without_skipped
from hint_grpo.errors import UserError
from hint_grpo.plots import plot_utilization
from hint_grpo.progress import ProgressBar
from hint_grpo.rollout.prompting import length_limits
from hint_grpo.scoring.rewards import make_reward
from hint_grpo.trainer import HintGRPOTrainer


def load_processor(model: ModelConfig, training: HintGRPOConfig) -> Any:
    pixels = {"max_pixels": training.max_pixels} if training.max_pixels else {}
    try:
        processor = AutoProcessor.from_pretrained(
            model.model_name_or_path,
            revision=model.model_revision,
            trust_remote_code=training.trust_remote_code,
            padding_side="left",
            truncation_side="left",
            **pixels,
        )
    except OSError as error:
        raise UserError(f"--model_name_or_path {model.model_name_or_path}: {error}") from error
    if not hasattr(processor, "image_processor"):
        raise UserError(f"{model.model_name_or_path} is no vision-language model: its processor takes no images")
    return processor


def load_data(script: ScriptArguments, training: HintGRPOConfig, processor: Any) -> tuple[Dataset, DataReport]:
    # Rank 0 reads and filters; the others find what it wrote.
    with training.main_process_first(desc="training data"):
        return load_training_data(
            script.data_path,
            script.dataset_name,
            tokenizer=processor.tokenizer,
            keep_multiple_choice=script.keep_multiple_choice,
            image_prefixes=None if script.image_prefixes is None else tuple(script.image_prefixes),
        )


def check_data(
    training: HintGRPOConfig, model: ModelConfig, dataset: Dataset, report: DataReport, processor: Any
) -> tuple[int, Dataset]:
    """--check_data: the report on every sample; (exit code, what can be trained on)."""
    config = AutoConfig.from_pretrained(model.model_name_or_path, trust_remote_code=training.trust_remote_code)
    checked = preflight(
        dataset,
        processor=processor,
        policy=training.policy,
        limits=length_limits(config, training),
        injection=training.hint_injection,
    )
    if training.process_index == 0:
        print("\n".join([*report.lines(training.policy.num_levels), *checked.lines()]), flush=True)
    bad = report.num_unusable or not checked.ok
    return int(bool(bad)), without_skipped(dataset, checked)


class LedgerStart(TrainerCallback):
    """Lines the hint ledger up with the step at which training begins."""

    def __init__(self, trainer: HintGRPOTrainer) -> None:
        self.path = trainer.ledger_path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            ledger.start(self.path, state.global_step)


def make_trainer(
    script: ScriptArguments, training: HintGRPOConfig, model: ModelConfig, dataset: Dataset, processor: Any
) -> HintGRPOTrainer:
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    rewards = {name: make_reward(name, script.scorer) for name in dict.fromkeys(["accuracy", *script.reward_funcs])}
    trainer = HintGRPOTrainer(
        model=model.model_name_or_path,
        reward_funcs=[rewards[name] for name in script.reward_funcs],
        accuracy=rewards["accuracy"],
        args=training,
        train_dataset=dataset,
        processing_class=processor,
        peft_config=get_peft_config(model),
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(ProgressBar())
    trainer.add_callback(LedgerStart(trainer))
    return trainer


def describe(trainer: HintGRPOTrainer, report: DataReport) -> None:
    """Says who does what, and the batch arithmetic, before the first step."""
    if not trainer.accelerator.is_main_process:
        return
    args = trainer.args
    prompts = args.prompts_per_device * args.gradient_accumulation_steps * args.world_size
    where = "vLLM in each process" if args.use_vllm else "transformers"
    for line in report.lines(args.policy.num_levels):
        print(line)
    print(
        f"{args.world_size} process(es) on {args.device.type}; rollouts by {where}; hints: {args.hint_policy}, "
        f"{args.policy.num_levels} level(s), {args.hint_injection} injection, {args.escalation} escalation"
    )
    print(
        f"a step: {args.prompts_per_device} prompt(s) x {args.gradient_accumulation_steps} accumulation x "
        f"{args.world_size} process(es) = {prompts} prompts, {args.num_generations} completions each; "
        f"context {trainer.limits.context_length} tokens",
        flush=True,
    )


def finish(trainer: HintGRPOTrainer) -> None:
    """Saves the last weights with the processor, so that test_model.py takes the folder as it is, and plots."""
    trainer.save_model(trainer.args.output_dir)
    trainer.save_state()
    if not trainer.accelerator.is_main_process:
        return
    stem = trainer.ledger_path.with_name("data_utilization")
    if trainer.ledger_path.exists():
        plot_utilization({trainer.args.hint_policy: trainer.ledger_path}, stem)
        print(f"saved to {trainer.args.output_dir}: weights, hint_ledger.jsonl, data_utilization.png", flush=True)
