"""What train_model.py can be told: dataclasses over TRL's, every field with help. `hint_grpo.training.command_line` reads them.

Three things differ from TRL so that the published commands mean what they say: `--per_device_train_batch_size` counts
prompts (TRL: completions), `--max_prompt_length` exists, and `--torch_dtype` is another name of `--dtype`.
"""

import hint_grpo.machine.stack  # noqa: F401

import os
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from trl import GRPOConfig

from hint_grpo.hints import HintPolicy
from hint_grpo.machine.hardware import check_gpus
from hint_grpo.rollout.placement import Placement, placement_of
from hint_grpo.training.flag_checks import check_script, check_training, check_values
from hint_grpo.training.flags import TRUTH


@dataclass
class ScriptArguments:
    """What to train on, and what counts as right."""

    data_path: str = field(
        default="", metadata={"help": "Folder that holds the data set (LLaVA-CoT-100k as downloaded)."}
    )
    dataset_name: str = field(
        default="LLaVA-CoT-100k",
        metadata={"help": "LLaVA-CoT-100k, or the name of your own .jsonl file (in --data_path, or a full path)."},
    )
    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy"],
        metadata={"help": "Rewards, added up: accuracy, format. Accuracy alone decides the hint level."},
    )
    scorer: Literal["strict", "paper", "released"] = field(
        default="strict",
        metadata={
            "help": "strict: only the last <answer> counts; paper: math_verify over the whole completion; released: the "
            "rewards of the authors' released code."
        },
    )
    data_rules: Literal["project", "released"] = field(
        default="project",
        metadata={
            "help": "How questions and solutions are read and filtered: this project's rules or the released code's."
        },
    )
    step_rules: Literal["project", "released"] = field(
        default="project",
        metadata={
            "help": "How a reasoning is cut into steps: this project's rules or the released code's (Step k alone)."
        },
    )
    steps_file: str | None = field(
        default=None,
        metadata={
            "help": "File with re-split reasonings, in --data_path or a path. Default: llavacot_geometry.jsonl there."
        },
    )
    keep_multiple_choice: bool = field(
        default=False, metadata={"help": "Ablation: leave multiple-choice questions as they are."}
    )
    image_prefixes: list[str] | None = field(
        default=None,
        metadata={
            "help": "Image folders to use. Default: geoqa+/ CLEVR_v1.0/ of LLaVA-CoT-100k (the paper's), else all."
        },
    )
    torch_dtype: str | None = field(default=None, metadata={"help": "Same as --dtype (the published commands' name)."})
    check_data: bool = field(
        default=False,
        metadata={"help": "Open every image, tokenise every prompt, report and stop (exit code 1: some are bad)."},
    )
    skip_bad: bool = field(
        default=False, metadata={"help": "With --check_data: go on and train on the samples that can be used."}
    )

    def __post_init__(self) -> None:
        check_script(vars(self))


@dataclass
class HintGRPOConfig(GRPOConfig):
    """GRPOConfig with the hints, and with the paper's constants (paper section 3.2) where TRL's defaults differ."""

    # The paper's constants.
    beta: float = field(default=0.04, metadata={"help": "Weight of the KL term (k3) to the reference model."})
    loss_type: str = field(default="grpo", metadata={"help": "Mean over a completion's tokens, then over completions."})
    temperature: float = field(default=0.9, metadata={"help": "Sampling temperature."})
    num_generations: int = field(default=4, metadata={"help": "G, completions per group."})
    max_completion_length: int = field(default=768, metadata={"help": "Longest completion, in sampled tokens."})
    num_train_epochs: float = field(default=2.0, metadata={"help": "Epochs."})
    per_device_train_batch_size: int = field(
        default=1,
        metadata={"help": "Prompts per process and step (TRL counts completions; here --num_generations each)."},
    )
    use_bias_correction_kl: bool = field(
        default=False,
        metadata={
            "help": "Weigh the KL term by the importance ratio. TRL's default is true, which adds k3 * grad(log pi)."
        },
    )
    # Never drops a completion. On-policy in exact arithmetic the ratio is 1, as in the paper.
    vllm_importance_sampling_mode: str = field(
        default="token_truncate", metadata={"help": "How vLLM's rounding is corrected for (see TRL)."}
    )
    # A plain bool, so that the published `--bf16` needs no value; and off unless asked for (TRL: on, on a CPU as well).
    bf16: bool = field(default=False, metadata={"help": "Train in bfloat16 (with --torch_dtype bfloat16)."})
    vllm_mode: str = field(
        default="auto",
        metadata={
            "help": "colocate: vLLM in each training process; server: a server of the run's own on the spare GPUs, or the one "
            "at --vllm_server_base_url; auto: a server where there are more GPUs than training processes, else colocate."
        },
    )
    vllm_enable_sleep_mode: bool | None = field(
        default=None,
        metadata={"help": "Colocate: give vLLM's memory back while training. Default: on a GPU yes, on a CPU no."},
    )
    vllm_server_timeout: float = field(default=900.0, metadata={"help": "Seconds to wait for the server to come up."})
    vllm_group_port: int | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Port on rank 0's machine for weights over NCCL. Default: a free one."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "true: the last checkpoint in --output_dir, or the start where there is none; or a checkpoint's folder."
        },
    )
    output_dir: str = field(default="output/hint_grpo", metadata={"help": "Checkpoints, ledger and plots."})
    logging_steps: float = field(default=1, metadata={"help": "Log every so many steps."})
    report_to: None | str | list[str] = field(default="none", metadata={"help": "wandb, tensorboard or none."})
    log_completions: bool = field(
        default=True, metadata={"help": "Keep each step's completions as a table (parquet) in OUTPUT_DIR/completions."}
    )
    num_completions_to_print: int | None = field(default=0, metadata={"help": "Completions to print at each log."})

    # This project's own.
    preset: Literal["default", "paper", "released"] = field(
        default="default",
        metadata={
            "help": "Whose settings, where no flag says otherwise: this project's, the paper's text, or the authors' released "
            "code (docs/faithfulness.md)."
        },
    )
    num_groups: int = field(default=3, metadata={"help": "M, number of hint levels; 1 is plain GRPO."})
    hint_policy: Literal["adaptive", "fixed", "random", "none"] = field(
        default="adaptive",
        metadata={"help": "adaptive (the method), fixed ratio, random ratio, or no hint (plain GRPO)."},
    )
    hint_ratio: float | None = field(default=None, metadata={"help": "The ratio of --hint_policy fixed, in [0, 1)."})
    hint_injection: Literal["answer", "query"] = field(
        default="answer", metadata={"help": "The hint begins the model's answer (the method) or ends the question."}
    )
    level_rule: Literal["accuracy", "summed_rewards"] = field(
        default="accuracy",
        metadata={
            "help": "The lowest level trained on: with a correct completion, or (released code) with rewards that sum to "
            "more than 0."
        },
    )
    equal_hints: Literal["skip", "sample"] = field(
        default="skip",
        metadata={"help": "A level with the very hint of the one below: skip it, or sample it again (released code)."},
    )
    hint_counts: Literal["exact", "float"] = field(
        default="exact",
        metadata={"help": "Steps of level i: floor(L*i/M), or the released code's int(L*(i/M)). Equal up to M = 9."},
    )
    escalation: Literal["lazy", "eager"] = field(
        default="lazy",
        metadata={"help": "lazy: a level only where the one below failed; eager: all levels in one call."},
    )
    max_prompt_length: int = field(
        default=8192,
        metadata={"help": "Longest prompt in tokens, image included; longer ones are skipped and counted."},
    )
    max_pixels: int | None = field(
        default=None, metadata={"help": "Larger pictures are scaled down to this many pixels."}
    )
    picture_processing: Literal["processor", "qwen_vl_utils"] = field(
        default="processor",
        metadata={
            "help": "qwen_vl_utils: vLLM gets pictures resized by that library, as in the authors' code; the policy's forward "
            "pass gets them as they are. processor: both as they are."
        },
    )
    resume_anyway: bool = field(
        default=False,
        metadata={
            "help": "Resume although data or settings have changed, or (not under DeepSpeed) the optimizer's state is missing."
        },
    )
    max_bad_steps: int = field(
        default=10, metadata={"help": "Stop after so many steps in a row without a usable reward (None, NaN or inf)."}
    )
    warn_without_signal: int = field(
        default=20, metadata={"help": "Warn after so many steps in a row without a valid group (nothing was learnt)."}
    )
    # Float32: 1e-6. Bfloat16 on GPUs: 0.01 to 0.03. A prompt that differs between vLLM and the trainer: 0.07 and more.
    max_logp_gap: float = field(
        default=0.05,
        metadata={"help": "Largest mean difference per token between vLLM's and the trainer's log-probabilities."},
    )
    stop_on_logp_gap: bool = field(
        default=True,
        metadata={"help": "Stop after 5 steps in a row with a wider or a growing difference; false: only warn."},
    )
    stage_timeout: float = field(
        default=1800.0, metadata={"help": "Seconds in one stage after which the watchdog names the rank that hangs."}
    )
    # Set by the command line: the flags that say something else than the preset, and every flag's value, without secrets.
    preset_overrides: dict[str, str] = field(init=False, default_factory=dict)
    flags: dict[str, Any] = field(init=False, default_factory=dict)
    # Set by __post_init__: what --per_device_train_batch_size said, and who samples.
    prompts_per_device: int = field(init=False, default=0)
    placement: Placement = field(init=False, default=Placement("transformers"))
    # Set by the command line: the precision asked for, in which vLLM samples (the weights that are trained may be float32).
    rollout_dtype: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for name, words in TRUTH.items():
            value = getattr(self, name)
            setattr(self, name, words.get(str(value).lower(), value))
        self._check()
        self.prompts_per_device = self.per_device_train_batch_size
        self.per_device_train_batch_size *= self.num_generations
        if self.deepspeed:
            from hint_grpo.machine import extension_lock

            extension_lock.install()
            _use_gloo_on_cpu(self)
        super().__post_init__()

    def _check(self) -> None:
        """Validation that needs no model. Most of it has been done by the command line, before torch was imported."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        check_values(values)
        check_training(values)
        if not self.use_cpu:
            check_gpus()
        self.placement = placement_of(values, 0 if self.use_cpu else torch.cuda.device_count())
        self.vllm_enable_sleep_mode = self.placement.sleep

    @property
    def sequences_per_process(self) -> int:
        """Completions that one process has sampled for it at a time, at most."""
        levels = 1 if self.escalation == "lazy" else self.policy.num_levels
        return self.prompts_per_device * self.steps_per_generation * self.num_generations * levels

    @property
    def policy(self) -> HintPolicy:
        levels = self.num_groups if self.hint_policy == "adaptive" else 1
        return HintPolicy(self.hint_policy, levels, self.hint_ratio or 0.0, self.hint_counts, self.equal_hints)


def _use_gloo_on_cpu(config: HintGRPOConfig) -> None:
    """DeepSpeed under torchrun on CPU: without a configured state transformers takes the world for one process."""
    if torch.cuda.is_available() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    from accelerate import PartialState

    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend="gloo")
    os.environ.pop("ACCELERATE_USE_DEEPSPEED")
    config.accelerator_config = {"use_configured_state": True}
