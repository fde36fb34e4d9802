"""The steps of train_model.py, in order. Each uses what the one before returned; no model is loaded before `make_trainer`."""

import hint_grpo.machine.stack  # noqa: F401

import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object, is_peft_model
from datasets import Dataset
from transformers import AutoConfig, AutoProcessor, PretrainedConfig, PrinterCallback, ProgressCallback, TrainerState
from transformers.utils import logging as transformers_logging
from trl import ModelConfig, get_peft_config, get_quantization_config

from hint_grpo.data.dataset import DataReport, load_training_data
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.data.preflight import preflight, share, without_skipped
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.machine import interrupts
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import only_run_in
from hint_grpo.machine.hardware import available_cores, describe_machine, num_local_processes
from hint_grpo.machine.memory import host_memory
from hint_grpo.machine.report_process import write_report
from hint_grpo.policies.registry import try_policy
from hint_grpo.rollout import server_process
from hint_grpo.rollout.access import token_of_the_environment
from hint_grpo.rollout.prompting import length_limits
from hint_grpo.rollout.server_process import ServerProcess, ServerSettings
from hint_grpo.scoring.rewards import columns_of, make_rewards, try_rewards
from hint_grpo.training import ledger, offload
from hint_grpo.training.callbacks import CleanStart, LogFile, Page, ProgressBar, SignalCheck, StageTimes, Watched
from hint_grpo.training.checkpoints import RunIdentity, check_resumable, checkpoint_to_resume, copy_model, is_last
from hint_grpo.training.config import HintGRPOConfig, ScriptArguments
from hint_grpo.training.flag_values import needs_float32
from hint_grpo.training.flags import declared_flags
from hint_grpo.training.monitoring import StopOnSignal
from hint_grpo.training.plots import plot_utilization
from hint_grpo.training.presets import config_text, preset_line, write_config
from hint_grpo.training.trainer import HintGRPOTrainer

MAX_SEQUENCES_OF_SERVER = 1024


def load_processor(model: ModelConfig, training: HintGRPOConfig) -> Any:
    """The model's processor with the run's picture size. Raises UserError if the model is not a vision-language model."""
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
    except (OSError, ValueError) as error:
        raise UserError(f"--model_name_or_path {model.model_name_or_path}: {error}") from error
    if not hasattr(processor, "image_processor"):
        raise UserError(
            f"{model.model_name_or_path} is not a vision-language model: its processor does not accept images"
        )
    Pictures(processor, training.picture_processing)  # raises UserError if it does not support this model
    return processor


def check_memory(training: HintGRPOConfig, model: ModelConfig) -> None:
    """Prints whether this machine's memory is enough for ZeRO offload, once per node. Raises UserError if it cannot be."""
    zero = training.hf_deepspeed_config.config.get("zero_optimization", {}) if training.deepspeed else {}
    if not offload.is_used(zero) or (memory := host_memory()) is None:
        return
    need = offload.offload_need(
        zero,
        offload.num_weights_of(model.model_name_or_path, training),
        precision=2 if training.bf16 or training.fp16 else 4,
        has_reference=bool(training.beta) and not model.use_peft,
        is_adapter=model.use_peft,
        share=num_local_processes() / training.world_size,
    )
    line = offload.check_host_memory(need, memory)
    if training.local_process_index == 0:
        print(line, flush=True)


def load_data(script: ScriptArguments, training: HintGRPOConfig, processor: Any) -> tuple[Dataset, DataReport]:
    """The training set, on disk, and the report of what was left out. Rank 0 reads and filters; the others load its result."""
    with training.main_process_first(desc="training data"):
        return load_training_data(
            script.data_path,
            script.dataset_name,
            tokenizer=processor.tokenizer,
            keep_multiple_choice=script.keep_multiple_choice,
            image_prefixes=None if script.image_prefixes is None else tuple(script.image_prefixes),
            data_rules=script.data_rules,
            step_rules=script.step_rules,
            steps_file=script.steps_file,
        )


def try_plugins(script: ScriptArguments, training: HintGRPOConfig, dataset: Dataset) -> None:
    """Calls the user's own functions once, before a model loads. Raises UserError for what does not work."""
    names, count = script.reward_funcs, training.num_generations
    try_rewards(names, script.accuracy, script.scorer, dataset[0], count, TrainerState())
    try_policy(training.policy, dataset[0]["reasoning_steps"], columns_of(dataset[0]), count)


def check_data(
    training: HintGRPOConfig, model: ModelConfig, dataset: Dataset, report: DataReport, processor: Any
) -> tuple[int, Dataset]:
    """--check_data: prints the report on every sample; returns (exit code, usable samples). Each rank checks its share."""
    config = AutoConfig.from_pretrained(model.model_name_or_path, trust_remote_code=training.trust_remote_code)
    part = preflight(
        dataset.select(share(len(dataset), training.process_index, training.world_size)),
        processor=processor,
        policy=training.policy,
        limits=length_limits(config, training),
        injection=training.hint_injection,
        picture_processing=training.picture_processing,
        workers=max(1, len(available_cores()) // num_local_processes()),
        show_progress=training.process_index == 0,
    )
    checked = PreflightReport.merged(gather_object([part]))
    if training.process_index == 0:
        print(preset_line(training.preset, training.preset_overrides))
        print("\n".join([*report.lines(training.policy), *checked.lines()]), flush=True)
    bad = report.num_unusable or not checked.ok
    return int(bool(bad)), without_skipped(dataset, checked)


def only_run(training: HintGRPOConfig) -> AbstractContextManager[None]:
    """Refuses a second run in the output folder. Rank 0 holds the lock for all ranks, since it writes all shared files."""
    return only_run_in(Path(training.output_dir)) if training.process_index == 0 else nullcontext()


def rollout_server(training: HintGRPOConfig, model: ModelConfig) -> AbstractContextManager[ServerProcess | None]:
    """The run's own vLLM server, on rank 0 of a run that has one; it starts while the trainer loads and ends with the block.

    A server that the user runs may still be starting. If it is up and refuses the run's token, the run ends here, before a
    model is loaded.
    """
    settings = None
    if training.placement.kind == "given server" and training.process_index == 0:
        server_process.is_up(training.vllm_server_base_url.rstrip("/"), token_of_the_environment())
    if training.placement.kind == "own server" and training.process_index == 0:
        config = AutoConfig.from_pretrained(model.model_name_or_path, trust_remote_code=training.trust_remote_code)
        settings = ServerSettings(
            model=model.model_name_or_path,
            dtype=training.rollout_dtype or model.dtype or "auto",
            context_length=length_limits(config, training).context_length or 0,
            max_num_seqs=min(training.sequences_per_process * training.world_size, MAX_SEQUENCES_OF_SERVER),
            gpu_ids=training.placement.server_gpus,
            tensor_parallel_size=training.vllm_tensor_parallel_size,
            gpu_memory_utilization=training.vllm_gpu_memory_utilization,
            max_pixels=training.max_pixels,
            trust_remote_code=training.trust_remote_code,
        )
    return server_process.rollout_server(settings, Path(training.output_dir) / "vllm_server.log")


def engine_loads_the_policy(training: HintGRPOConfig, model: ModelConfig, loaded: PretrainedConfig) -> bool:
    """Whether vLLM has the weights that the policy starts with, because both load the same files: then the first hand-over is
    left out, except after a resume. `loaded`: the configuration of the policy's model.

    A cast to vLLM's precision is no difference: vLLM casts the file as it would cast the policy's weights, which have that
    precision or float32 (`command_line.build`). A new LoRA adapter adds zero; DoRA rounds the weights when it is merged.
    """
    # Whatever else the policy is loaded with may change its weights: another file, another shape.
    harmless = {"revision", "attn_implementation", "dtype", "device_map"}
    return (
        training.placement.kind in ("colocate", "own server")  # the user's server may serve other weights
        and not training.vllm_enable_sleep_mode  # which discards them before they are used
        and model.model_revision in (None, "main")  # vLLM is not told of another
        and not {name for name, value in (training.model_init_kwargs or {}).items() if value is not None} - harmless
        and not (model.use_peft and model.use_dora)
        and getattr(loaded, "quantization_config", None) is None
    )


def make_trainer(
    script: ScriptArguments,
    training: HintGRPOConfig,
    model: ModelConfig,
    dataset: Dataset,
    processor: Any,
    server: ServerProcess | None = None,
) -> HintGRPOTrainer:
    """Loads the model and builds the trainer with its callbacks; `server` is the run's own vLLM server on rank 0."""
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    rewards, accuracy = make_rewards(script.reward_funcs, script.accuracy, script.scorer)
    trainer = HintGRPOTrainer(
        model=model.model_name_or_path,
        reward_funcs=rewards,
        accuracy=accuracy,
        args=training,
        train_dataset=dataset,
        processing_class=processor,
        peft_config=get_peft_config(model),
        quantization_config=get_quantization_config(model),
        server=server,
    )
    if training.use_vllm:
        trainer.vllm_generation.loaded_the_policy = engine_loads_the_policy(training, model, trainer.model.config)
    for callback in (
        CleanStart(),
        LogFile(),
        Page(training),
        StageTimes(trainer),
        SignalCheck(trainer),
        Watched(trainer),
    ):
        trainer.add_callback(callback)
    return trainer


def save_config(trainer: HintGRPOTrainer) -> None:
    """Writes the run's flags and its machine to `train_config.yaml` in the output folder."""
    args = trainer.args
    if trainer.accelerator.is_main_process:
        text = config_text(args.flags, declared_flags(), args.preset, args.preset_overrides, describe_machine())
        write_config(Path(args.output_dir), text)


def describe(trainer: HintGRPOTrainer, report: DataReport) -> None:
    """Prints the settings that matter before the first step: preset, data, placement, hints, batch sizes."""
    if not trainer.accelerator.is_main_process:
        return
    args = trainer.args
    for line in [preset_line(args.preset, args.preset_overrides), *report.lines(args.policy)]:
        print(line)
    if needs_float32(args.rollout_dtype, {**vars(args), "use_peft": is_peft_model(trainer.model)}):
        print(
            f"precision: weights are stored in float32, the computation runs in {args.rollout_dtype} (autocast), because AdamW's "
            f"updates are too small for {args.rollout_dtype} weights; --deepspeed or --use_peft need less memory"
        )
    gpus = " (one GPU each)" if args.device.type == "cuda" else ""
    print(f"training: {args.world_size} process(es) on {args.device.type}{gpus}; rollouts: {_who_samples(trainer)}")
    if args.rollouts_ahead:
        print(
            "rollouts ahead: the server samples each batch while the batch before is trained on, by weights that are one update "
            "old. The training is off-policy by one step; importance weights by token correct for it"
        )
    for note in args.placement.notes:
        print(f"note: {note}")
    print(
        f"hints: {args.hint_policy}, {args.policy.num_levels} level(s), {args.hint_injection} injection, "
        f"{args.schedule} escalation ({args.schedule_reason})"
    )
    print(f"pictures: {_picture_processing(args)}")
    print("\n".join([*batch_lines(args), f"context: {trainer.limits.context_length} tokens"]), flush=True)


def batch_lines(args: HintGRPOConfig) -> list[str]:
    """The batch sizes: what an optimizer step trains on, and how often prompts are sampled.

    A sampled batch lasts for `steps_per_generation` micro-batches and is trained on `num_iterations` times.
    """
    prompts = args.prompts_per_device * args.gradient_accumulation_steps * args.world_size
    sampled = args.prompts_per_device * args.steps_per_generation * args.world_size
    lines = [
        f"a step: {args.prompts_per_device} prompt(s) x {args.gradient_accumulation_steps} accumulation x "
        f"{args.world_size} process(es) = {prompts} prompts, {args.num_generations} completions each = "
        f"{prompts * args.num_generations} completions"
    ]
    if args.steps_per_generation != args.gradient_accumulation_steps or args.num_iterations != 1:
        steps = args.steps_per_generation * args.num_iterations / args.gradient_accumulation_steps
        lines.append(
            f"a generation: {args.prompts_per_device} prompt(s) x {args.steps_per_generation} steps_per_generation x "
            f"{args.world_size} process(es) = {sampled} prompts sampled = {sampled * args.num_generations} completions, "
            f"trained on {args.num_iterations} time(s): one generation for {steps:g} step(s)"
        )
    return lines


def _picture_processing(args: HintGRPOConfig) -> str:
    if args.picture_processing == "processor":
        return "resized by the model's processor"
    if not args.use_vllm:
        return "resized by the model's processor (--picture_processing qwen_vl_utils changes vLLM's, which is not used)"
    return "resized by qwen_vl_utils for vLLM, by the model's processor for the policy"


def _who_samples(trainer: HintGRPOTrainer) -> str:
    placement = trainer.args.placement
    if placement.kind == "transformers":
        return "the policy itself, by transformers"
    if placement.kind == "colocate":
        return f"vLLM in each process{', asleep while training' if placement.sleep else ''}"
    url = trainer.vllm_generation.url
    if placement.kind == "given server":
        return f"the vLLM server at {url}"
    where = f"GPU {', '.join(placement.server_gpus)}" if placement.server_gpus else "the CPU"
    return f"this run's vLLM server at {url} on {where}"


def checkpoint(training: HintGRPOConfig, dataset: Dataset) -> Path | None:
    """--resume_from_checkpoint: the checkpoint to resume from; None: start at step 0. UserError if it belongs to another run."""
    folder = checkpoint_to_resume(training.resume_from_checkpoint, Path(training.output_dir))
    if folder is not None:
        identity = RunIdentity.of(dataset, training)
        check_resumable(folder, identity, anyway=training.resume_anyway, deepspeed=bool(training.deepspeed))
    if training.resume_from_checkpoint and training.process_index == 0:
        print(
            f"resuming from {folder}" if folder else f"no checkpoint in {training.output_dir} yet: starting at step 0"
        )
    return folder


def train(trainer: HintGRPOTrainer, resume: Path | None) -> int | None:
    """Trains, from checkpoint `resume` if given. None after the last step; the exit code if a signal ended the run before."""
    trainer.remove_callback(PrinterCallback)
    progress, stop = ProgressBar(), StopOnSignal(trainer.accelerator.device)
    for callback in (progress, stop) if trainer.pop_callback(ProgressCallback) else (stop,):
        trainer.add_callback(callback)
    transformers_logging.disable_progress_bar()  # one per file of a checkpoint; inside another bar they leave copies behind
    try:
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    finally:
        progress.close()
    if not stop.stopped_by:
        return None
    if trainer.accelerator.is_main_process:
        print(
            f"stopped by a signal after step {trainer.state.global_step}; the same command with "
            "--resume_from_checkpoint true continues",
            flush=True,
        )
    return interrupts.EXIT_CODE if stop.stopped_by == signal.SIGINT else 0


def finish_with(folder: Path, training: HintGRPOConfig) -> bool:
    """Finishes a run that was killed between its last checkpoint and its end, from that checkpoint; False if it was not."""
    if not is_last(folder, training):
        return False
    if training.process_index == 0:
        copy_model(folder, Path(training.output_dir))
        _plot_and_report(training)
    return True


def finish(trainer: HintGRPOTrainer) -> None:
    """Saves the final weights with the processor, so that test_model.py can evaluate the folder, and draws plot and page."""
    interrupts.deferred_to(lambda: interrupts.say("Ctrl-C: saving the last weights; press it again to stop at once"))
    trainer.save_model(trainer.args.output_dir)
    trainer.save_state()
    trainer.create_model_card()
    if trainer.accelerator.is_main_process:
        _plot_and_report(trainer.args)


def _plot_and_report(training: HintGRPOConfig) -> None:
    file = Path(training.output_dir) / ledger.FILE_NAME
    if file.exists():
        plot_utilization({training.hint_policy: file}, file.with_name("data_utilization"))
        print(f"saved to {training.output_dir}: weights, {ledger.FILE_NAME}, data_utilization.png", flush=True)
        if training.report and (page := write_report(file.parent)):
            print(f"report: {page}", flush=True)
