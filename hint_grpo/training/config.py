"""The configuration of a training run: dataclasses over TRL's, one field per flag of train_model.py, each with its help.

`command_line` builds them from flags; Python programs build them directly. The flags' names and help are read from the source
text of this file (`flags`), so a field must stay a literal declaration.

Three things differ from TRL, so that the authors' published commands work unchanged: `--per_device_train_batch_size` counts
prompts (TRL: completions), `--max_prompt_length` exists, and `--torch_dtype` is another name for `--dtype`.
"""

import hint_grpo.machine.stack  # noqa: F401

import os
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from trl import GRPOConfig

from hint_grpo.machine.hardware import count_gpus
from hint_grpo.policies.base import HintPolicy
from hint_grpo.rollout.placement import Placement, Schedule, schedule_of
from hint_grpo.training.flag_checks import check_script, check_training, policy_of
from hint_grpo.training.flag_values import BOOL_ALIASES, check_values


@dataclass
class ScriptArguments:
    """What to train on, and how answers are scored. Raises UserError for a value that is not valid."""

    data_path: str = field(default="", metadata={"help": "Folder of the data set (LLaVA-CoT-100k as downloaded)."})
    dataset_name: str = field(
        default="LLaVA-CoT-100k",
        metadata={"help": "LLaVA-CoT-100k, or the name of your own .jsonl file (in --data_path, or a full path)."},
    )
    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy"],
        metadata={
            "help": "Rewards to add up: accuracy, format, or your own functions (file.py:name or module:name, docs/your_own.md). "
            "Only accuracy decides the hint level."
        },
    )
    accuracy: str | None = field(
        default=None,
        metadata={
            "help": "Your own function (file.py:name or module:name) in place of the answer checker: it decides the hint level, "
            "and is the reward accuracy."
        },
    )
    scorer: str = field(
        default="strict",
        metadata={
            "choices": ["strict", "paper", "released"],
            "help": "strict: only the last <answer> counts; paper: math_verify on the whole completion; released: the rewards of "
            "the authors' released code; or your own function of a completion and a solution (file.py:name).",
        },
    )
    data_rules: Literal["project", "released"] = field(
        default="project",
        metadata={
            "help": "How questions and solutions are read and filtered: by this project's rules or the released code's."
        },
    )
    step_rules: Literal["project", "released"] = field(
        default="project",
        metadata={
            "help": "How a reasoning is split into steps: by this project's rules or the released code's (only at Step k)."
        },
    )
    steps_file: str | None = field(
        default=None,
        metadata={
            "help": "File with re-split reasonings, in --data_path or a path. Default: llavacot_geometry.jsonl if it is there."
        },
    )
    keep_multiple_choice: bool = field(
        default=False, metadata={"help": "Ablation: keep multiple-choice questions unchanged."}
    )
    image_prefixes: list[str] | None = field(
        default=None,
        metadata={
            "help": "Image folders to use. Default: geoqa+/ CLEVR_v1.0/ for LLaVA-CoT-100k (as in the paper), else all."
        },
    )
    torch_dtype: str | None = field(
        default=None, metadata={"help": "Same as --dtype (its name in the published commands)."}
    )
    check_data: bool = field(
        default=False,
        metadata={"help": "Open every image, tokenise every prompt, report and exit (exit code 1 if some are bad)."},
    )
    skip_bad: bool = field(default=False, metadata={"help": "With --check_data: then train on the usable samples."})

    def __post_init__(self) -> None:
        check_script(vars(self))


@dataclass
class HintGRPOConfig(GRPOConfig):
    """TRL's GRPOConfig with the flags of Hint-GRPO, and the paper's constants (section 3.2) where TRL's defaults differ.

    Raises UserError for a value that is not valid. `per_device_train_batch_size` counts prompts when it is given and completions
    afterwards, as TRL expects; `prompts_per_device` keeps the number of prompts.
    """

    # TRL's fields, with the paper's constants.
    beta: float = field(default=0.04, metadata={"help": "Weight of the KL term (k3) to the reference model."})
    loss_type: str = field(
        default="grpo", metadata={"help": "grpo: mean over a completion's tokens, then over completions."}
    )
    temperature: float = field(default=0.9, metadata={"help": "Sampling temperature."})
    num_generations: int = field(default=4, metadata={"help": "G, completions per group."})
    max_completion_length: int = field(
        default=768, metadata={"help": "Longest completion, in sampled tokens (hints not counted)."}
    )
    num_train_epochs: float = field(default=2.0, metadata={"help": "Passes over the data."})
    per_device_train_batch_size: int = field(
        default=1,
        metadata={
            "help": "Prompts per process and micro-batch, --num_generations completions each (TRL counts completions)."
        },
    )
    use_bias_correction_kl: bool = field(
        default=False,
        metadata={
            "help": "Weight the KL term by the importance ratio. TRL's default is true, which adds k3 * grad(log pi)."
        },
    )
    # Truncation never drops a completion. On-policy and in exact arithmetic the ratio is 1, as in the paper.
    vllm_importance_sampling_mode: str = field(
        default="token_truncate",
        metadata={"help": "How to correct for the rounding of vLLM's log-probabilities (see TRL)."},
    )

    # TRL's and transformers' fields, with defaults of this project.
    # A plain bool, so that the published `--bf16` needs no value. Off by default; TRL's default is on, even on a CPU.
    bf16: bool = field(default=False, metadata={"help": "Train in bfloat16 (with --torch_dtype bfloat16)."})
    vllm_mode: str = field(
        default="auto",
        metadata={
            "help": "colocate: vLLM in each training process; server: a server that the run starts on the spare GPUs, or the one "
            "at --vllm_server_base_url; auto: a server if there are more GPUs than training processes, else colocate."
        },
    )
    vllm_enable_sleep_mode: bool | None = field(
        default=None,
        metadata={"help": "Colocate: free vLLM's memory while training. Default: true on a GPU, false on a CPU."},
    )
    vllm_server_timeout: float = field(default=900.0, metadata={"help": "Seconds to wait until the server is up."})
    vllm_group_port: int | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Port on rank 0's machine to send weights over NCCL. Default: a free one."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "true: the last checkpoint in --output_dir, or step 0 if there is none; or a checkpoint's folder."
        },
    )
    output_dir: str = field(
        default="output/hint_grpo",
        metadata={"help": "Folder for weights, checkpoints, ledger and plots (docs/outputs.md)."},
    )
    logging_steps: float = field(default=1, metadata={"help": "Log every N steps; below 1: that share of the run."})
    report_to: None | str | list[str] = field(
        default="none", metadata={"help": "Trackers: wandb, tensorboard, ...; or none."}
    )
    log_completions: bool = field(
        default=True,
        metadata={
            "help": "With --report_to wandb: send a table of completions, with pictures and hints (docs/outputs.md)."
        },
    )
    num_completions_to_print: int | None = field(default=0, metadata={"help": "Completions to print at each log."})

    # Fields of this project.
    log_completions_steps: int = field(
        default=10, metadata={"help": "Send wandb's table of completions every N steps (those that are logged)."}
    )
    keep_rollouts: str = field(
        default="all",
        metadata={
            "help": "Which completions to store in OUTPUT_DIR/rollouts: all; trained: those of the level trained on; N: those of "
            "the first N prompts of each step (0: none)."
        },
    )
    max_rollouts_mb: float = field(
        default=2000.0,
        metadata={"help": "Largest size of OUTPUT_DIR/rollouts in MB; later completions are not stored."},
    )
    report: bool = field(
        default=True,
        metadata={"help": "Write OUTPUT_DIR/report.html at the end: curves, and every stored question and completion."},
    )
    report_every: int = field(
        default=0, metadata={"help": "Also write OUTPUT_DIR/report.html every N steps, in the background (0: never)."}
    )
    preset: Literal["default", "paper", "released"] = field(
        default="default",
        metadata={
            "help": "Settings of this project, of the paper's text, or of the authors' released code, for flags that are not "
            "given (docs/faithfulness.md)."
        },
    )
    num_groups: int = field(default=3, metadata={"help": "M, the number of hint levels; 1 is plain GRPO."})
    hint_policy: str = field(
        default="adaptive",
        metadata={
            "choices": ["adaptive", "fixed", "random", "none", "uft", "questa", "ghpo", "g2rpo_a", "seele", "trapo"],
            "help": "adaptive: the method; fixed: one ratio; random: a random ratio; none: no hint (plain GRPO); the others: "
            "those of other papers (docs/hint_schedules.md); or your own (file.py:name, docs/your_own.md).",
        },
    )
    hint_policy_args: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Settings of a hint policy that has some, as JSON, such as '{\"until\": 0.5}' for uft."},
    )
    hint_ratio: float | None = field(default=None, metadata={"help": "Hint ratio for --hint_policy fixed, in [0, 1)."})
    hint_injection: Literal["answer", "query"] = field(
        default="answer",
        metadata={"help": "answer: the hint starts the model's answer (the method); query: it ends the question."},
    )
    level_rule: Literal["accuracy", "summed_rewards"] = field(
        default="accuracy",
        metadata={
            "help": "Train on the lowest level with a correct completion (accuracy), or with rewards that sum to more than 0 "
            "(released code)."
        },
    )
    accuracy_threshold: float = field(
        default=1.0,
        metadata={"help": "A completion is correct, and ends the search for a hint level, from this accuracy on."},
    )
    equal_hints: Literal["skip", "sample"] = field(
        default="skip",
        metadata={
            "help": "A level whose hint equals that of the level below: skip it, or sample it again (released code)."
        },
    )
    hint_counts: Literal["exact", "float"] = field(
        default="exact",
        metadata={
            "help": "Hint steps at level i: floor(L*i/M), or the released code's int(L*(i/M)). Equal up to M = 9."
        },
    )
    escalation: Literal["auto", "lazy", "eager", "speculative"] = field(
        default="auto",
        metadata={
            "help": "lazy: sample a level only if the one below failed; eager: sample all levels; speculative: begin with all "
            "levels, and stop those above one that has a correct completion (needs vLLM); auto: speculative where vLLM samples "
            "on a GPU, else lazy. All train on the same level."
        },
    )
    rollouts_ahead: int = field(
        default=0,
        metadata={
            "help": "1: a server samples the next batch while this one is trained on, so the completions are one update old "
            "(off-policy by one step, corrected by importance weights); 0: the method."
        },
    )
    group_statistics: Literal["one", "separate"] = field(
        default="one",
        metadata={
            "help": "Advantages in groups that mix hints (g2rpo_a, seele, trapo): one mean and standard deviation, or one for "
            "each hint length."
        },
    )
    keep_sampling: int = field(
        default=0,
        metadata={
            "help": "Replace prompts whose completions all have the same reward by new ones, at most N times a step (DAPO's "
            "dynamic sampling)."
        },
    )
    hint_loss_weight: float = field(
        default=0.0,
        metadata={"help": "Weight of a supervised loss on the hint's tokens, such as UFT's 0.001 (0: none)."},
    )
    max_prompt_length: int = field(
        default=8192,
        metadata={"help": "Longest prompt in tokens, with its image; longer ones are skipped and counted."},
    )
    max_pixels: int | None = field(default=None, metadata={"help": "Scale larger pictures down to this many pixels."})
    picture_processing: Literal["processor", "qwen_vl_utils"] = field(
        default="processor",
        metadata={
            "help": "processor: vLLM and the policy get the pictures unchanged; qwen_vl_utils: vLLM gets them resized by that "
            "library, as in the authors' code, the policy's forward pass gets them unchanged."
        },
    )
    resume_anyway: bool = field(
        default=False,
        metadata={
            "help": "Resume even if data or settings have changed, or (not with DeepSpeed) the optimizer's state is missing."
        },
    )
    max_bad_steps: int = field(
        default=10, metadata={"help": "Stop after N steps in a row without a usable reward (all None, NaN or inf)."}
    )
    warn_without_signal: int = field(
        default=20, metadata={"help": "Warn after N steps in a row without a valid group: nothing is learnt from them."}
    )
    # Typical differences: 1e-6 in float32, 0.01 to 0.03 in bfloat16 on GPUs; 0.07 and more if vLLM and the trainer see different
    # prompts.
    max_logp_gap: float = field(
        default=0.05,
        metadata={
            "help": "Largest allowed difference between vLLM's and the trainer's log-probabilities, as the mean over tokens."
        },
    )
    stop_on_logp_gap: bool = field(
        default=True,
        metadata={"help": "Stop after 5 steps in a row with a larger or a growing difference; false: only warn."},
    )
    stage_timeout: float = field(
        default=1800.0, metadata={"help": "Seconds in one stage after which the watchdog reports the rank that hangs."}
    )

    # Not flags. Set by the command line:
    # flags with another value than the preset's (None: not used),
    preset_overrides: dict[str, str] = field(init=False, default_factory=dict)
    # every flag with its value, without secrets,
    flags: dict[str, Any] = field(init=False, default_factory=dict)
    # and the precision of --torch_dtype, in which vLLM samples. The trained weights may be float32.
    rollout_dtype: str | None = field(init=False, default=None)
    # Set by __post_init__: the given --per_device_train_batch_size, and where the rollouts are sampled.
    prompts_per_device: int = field(init=False, default=0)
    placement: Placement = field(init=False, default=Placement("transformers"))
    # What --escalation means for this run, and why.
    schedule: Schedule = field(init=False, default="lazy")
    schedule_reason: str = field(init=False, default="")

    def __post_init__(self) -> None:
        for name, alias in BOOL_ALIASES.items():
            value = getattr(self, name)
            setattr(self, name, alias.get(str(value).lower(), value))
        self._check()
        # From here on TRL's count: completions, in whole groups.
        self.prompts_per_device = self.per_device_train_batch_size
        self.per_device_train_batch_size *= self.num_generations
        if self.deepspeed:
            from hint_grpo.machine import extension_lock

            extension_lock.install()
            _use_gloo_on_cpu(self)
        super().__post_init__()

    def _check(self) -> None:
        """Validation that needs no model. The command line has done it already, before it imported torch."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        check_values(values)
        self.placement = check_training(values)
        self.vllm_enable_sleep_mode = self.placement.sleep
        on_gpu = not self.use_cpu and count_gpus() > 0
        self.schedule, self.schedule_reason = schedule_of(
            self.escalation, self.placement.kind, on_gpu=on_gpu, num_levels=self.policy.num_levels
        )

    @property
    def sequences_per_process(self) -> int:
        """The most completions that are sampled for one process at the same time."""
        levels = 1 if self.schedule == "lazy" else self.policy.num_levels
        return self.prompts_per_device * self.steps_per_generation * self.num_generations * levels

    @property
    def policy(self) -> HintPolicy:
        """Which hints this run gives."""
        return policy_of(vars(self))


def _use_gloo_on_cpu(config: HintGRPOConfig) -> None:
    """DeepSpeed with torchrun on CPU: without a configured state, transformers would see a single process."""
    if torch.cuda.is_available() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    from accelerate import PartialState

    # The variable is set only while the state is made, so that it is made for DeepSpeed.
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend="gloo")
    os.environ.pop("ACCELERATE_USE_DEEPSPEED")
    config.accelerator_config = {"use_configured_state": True}
