"""The values that train_model.py's flags accept: choices, ranges, flags without effect, and the packages that choices need.

Tables and the checks of one flag alone; `flag_checks` has those of several flags together. Light to import, as `flags` is.
"""

import importlib.util
import json
import math
import os
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from hint_grpo.machine.errors import UserError, did_you_mean
from hint_grpo.plugins import is_reference
from hint_grpo.training.flags import declared_flags, dict_keys, enum_values

# ----------------------------------------------------------------------------------------------------
# Choices

LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
HALF_PRECISIONS = ("bfloat16", "float16")
# Flags that accept a path to the user's own (file.py:name, module:name) besides their named values.
PLUGGABLE = ("scorer", "hint_policy")

# Flags that accept true and false besides their named values, and the named value that each stands for.
BOOL_ALIASES = {
    "scale_rewards": {"true": "group", "false": "none"},
    "include_num_input_tokens_seen": {"true": "all", "false": "no"},
}


@cache
def choices() -> dict[str, tuple[str, ...]]:
    """The allowed values of every flag that has a fixed set of them, by flag.

    Values that belong to an installed library are read from its source, so that they follow its version.
    """
    declared = {flag.name: flag.choices for flag in declared_flags().values() if flag.choices}
    schedulers = enum_values("transformers", "trainer_utils.py", "SchedulerType")
    intervals = enum_values("transformers", "trainer_utils.py", "IntervalStrategy")
    return declared | {
        "torch_dtype": ("auto", *HALF_PRECISIONS, "float32"),
        "dtype": ("auto", *HALF_PRECISIONS, "float32"),
        "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
        "scale_rewards": ("group", "batch", "none", "true", "false"),
        "importance_sampling_level": ("token", "sequence"),
        "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
        "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
        "vllm_mode": ("auto", "colocate", "server"),
        "vllm_model_impl": ("vllm", "transformers", "auto"),
        "cache_implementation": ("static", "offloaded_static", "dynamic", "offloaded", "quantized"),
        # Without these two, which need an evaluation during training.
        "lr_scheduler_type": tuple(one for one in schedulers if one not in ("reduce_lr_on_plateau", "greedy")),
        "save_strategy": intervals,
        "logging_strategy": intervals,
        "hub_strategy": enum_values("transformers", "trainer_utils.py", "HubStrategy"),
        "optim": enum_values("transformers", "training_args.py", "OptimizerNames"),
        "report_to": (
            "none",
            "all",
            *dict_keys("transformers", "integrations/integration_utils.py", "INTEGRATION_TO_CALLBACK"),
        ),
        "debug": enum_values("transformers", "debug_utils.py", "DebugOption"),
        "log_level": LOG_LEVELS,
        "log_level_replica": LOG_LEVELS,
        "include_num_input_tokens_seen": ("no", "all", "non_padding", "true", "false"),
        "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
        "torch_compile_backend": tuple(
            one.lower() for one in enum_values("accelerate", "utils/dataclasses.py", "DynamoBackend")
        ),
    }


# ----------------------------------------------------------------------------------------------------
# Ranges
#
# In interval notation, "[" inclusive and "(" exclusive. "inf)" requires a finite number, "inf]" also allows infinity. A number
# whose flag is not listed must be finite.

INTERVALS = {
    # sampling
    "temperature": "(0, inf)",
    "top_p": "(0, 1]",
    "top_k": "[0, inf)",
    "min_p": "[0, 1]",
    "repetition_penalty": "(0, inf)",
    "max_completion_length": "[1, inf)",
    "max_prompt_length": "[1, inf)",
    "max_pixels": "[1, inf)",
    "num_generations": "[2, inf)",
    # batches
    "per_device_train_batch_size": "[1, inf)",
    "gradient_accumulation_steps": "[1, inf)",
    "steps_per_generation": "[1, inf)",
    "generation_batch_size": "[1, inf)",
    "num_iterations": "[1, inf)",
    "num_train_epochs": "(0, inf)",
    # the loss
    "beta": "[0, inf)",
    "epsilon": "[0, inf)",
    "epsilon_high": "[0, inf)",
    "delta": "(0, inf)",
    "sapo_temperature_neg": "(0, inf)",
    "sapo_temperature_pos": "(0, inf)",
    "ref_model_mixup_alpha": "[0, 1]",
    "ref_model_sync_steps": "[1, inf)",
    "top_entropy_quantile": "[0, 1]",
    "off_policy_mask_threshold": "(0, inf)",
    "vllm_importance_sampling_clip_max": "(0, inf)",
    "vllm_importance_sampling_clip_min": "[0, inf)",
    # the optimizer
    "learning_rate": "[0, inf)",
    "warmup_steps": "[0, inf)",
    "weight_decay": "[0, inf)",
    "adam_beta1": "[0, 1)",
    "adam_beta2": "[0, 1)",
    "adam_epsilon": "(0, inf)",
    "max_grad_norm": "[0, inf)",
    "neftune_noise_alpha": "[0, inf)",
    "torch_empty_cache_steps": "[1, inf)",
    # LoRA
    "lora_r": "[1, inf)",
    "lora_alpha": "[1, inf)",
    "lora_dropout": "[0, 1)",
    # vLLM
    "vllm_gpu_memory_utilization": "(0, 1]",
    "vllm_max_model_length": "[1, inf)",
    "vllm_tensor_parallel_size": "[1, inf)",
    "vllm_server_port": "[1, 65535]",
    "vllm_group_port": "[1, 65535]",
    "vllm_server_timeout": "(0, inf)",
    # hints, monitoring, logging, checkpoints and data loading
    "num_groups": "[1, inf)",
    "hint_ratio": "[0, 1)",
    "keep_sampling": "[0, inf)",
    "rollouts_ahead": "[0, 1]",
    "hint_loss_weight": "[0, inf)",
    "accuracy_threshold": "(0, inf)",
    "max_rollouts_mb": "[0, inf)",
    "report_every": "[0, inf)",
    "max_bad_steps": "[1, inf)",
    "stage_timeout": "(0, inf)",
    "warn_without_signal": "[1, inf)",
    "max_logp_gap": "(0, inf]",
    "logging_steps": "(0, inf)",
    "log_completions_steps": "[1, inf)",
    "save_steps": "(0, inf)",
    "save_total_limit": "[1, inf)",
    "num_completions_to_print": "[0, inf)",
    "seed": "[0, 4294967295]",
    "dataloader_num_workers": "[0, inf)",
    "dataloader_prefetch_factor": "[1, inf)",
    "ddp_timeout": "[1, inf)",
    "ddp_bucket_cap_mb": "[1, inf)",
}

# ----------------------------------------------------------------------------------------------------
# Flags of TRL and transformers that have no effect here, with the reason or what to use instead
#
# They are refused unless they are set to their default.

NO_EVALUATION = "nothing is evaluated during training; evaluate the checkpoints with test_model.py"
UNUSED = dict.fromkeys(
    (
        "eval_strategy",
        "eval_steps",
        "eval_delay",
        "eval_on_start",
        "eval_do_concat_batches",
        "eval_use_gather_object",
        "eval_accumulation_steps",
        "per_device_eval_batch_size",
        "num_generations_eval",
        "prediction_loss_only",
        "batch_eval_metrics",
        "include_for_metrics",
        "bf16_full_eval",
        "fp16_full_eval",
        "do_eval",
        "do_predict",
        "load_best_model_at_end",
        "metric_for_best_model",
        "greater_is_better",
    ),
    NO_EVALUATION,
) | {
    "auto_find_batch_size": "GRPO needs whole groups in a batch; lower --per_device_train_batch_size",
    "chat_template_kwargs": "hint_grpo/prompts.py builds the prompts",
    "data_seed": "the order of the data follows --seed",
    "ds3_gather_for_generation": "ZeRO-3 weights are always gathered for sampling",
    "label_smoothing_factor": "the GRPO loss has no labels",
    "label_names": "the GRPO loss has no labels",
    "log_completions_hub_repo": "completions are in OUTPUT_DIR/rollouts; upload that folder",
    "log_unique_prompts": "the table has a row per completion",
    "lora_task_type": "the model is a causal language model",
    "max_tool_calling_iterations": "the model does not call tools",
    "remove_unused_columns": "the rewards need every column",
    "train_sampling_strategy": "prompts are shuffled; --shuffle_dataset false keeps the file's order",
    "transformers_continuous_batching_config": "it does not support vision-language models; use --use_vllm true",
    "use_transformers_continuous_batching": "it does not support vision-language models; use --use_vllm true",
    "use_transformers_paged": "it does not support vision-language models; use --use_vllm true",
    "vllm_structured_outputs_regex": "completions are sampled without constraints",
}

# ----------------------------------------------------------------------------------------------------
# Packages that a choice needs, as (module to import, package to install)

# By tracker (--report_to), if its module or package is not named like the tracker.
TRACKERS = {
    "azure_ml": ("azureml", "azureml-mlflow"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "flyte": ("flytekit", "flytekit"),
}
# By package, what to give to `pip install` if not its name. trackio 0.43 demands Pillow < 13, although it runs with 13; of the
# other packages that it demands, three are missing.
INSTALL = {"trackio": "--no-deps trackio gradio-client brotli orjson"}
# By part of the optimizer's name (--optim); the first match counts.
OPTIMIZER_PACKAGES = (
    ("galore", "galore_torch", "galore-torch"),
    ("apollo", "apollo_torch", "apollo-torch"),
    ("grokadamw", "grokadamw", "grokadamw"),
    ("schedule_free", "schedulefree", "schedulefree"),
    ("stable_adamw", "optimi", "torch-optimi"),
    ("anyprecision", "torchdistx", "torchdistx"),
    ("torch_xla", "torch_xla", "torch_xla"),
    ("torch_npu", "torch_npu", "torch-npu"),
    ("adamw_torch_4bit", "torchao", "torchao"),
    ("adamw_torch_8bit", "torchao", "torchao"),
    ("lomo", "lomo_optim", "lomo-optim"),
    ("8bit", "bitsandbytes", "bitsandbytes"),
    ("bnb", "bitsandbytes", "bitsandbytes"),
    ("paged", "bitsandbytes", "bitsandbytes"),
    ("lion", "bitsandbytes", "bitsandbytes"),
    ("ademamix", "bitsandbytes", "bitsandbytes"),
)


# ----------------------------------------------------------------------------------------------------
# Checks of one flag


def check_values(values: Mapping[str, Any]) -> None:
    """Choices and ranges of all flags in `values`."""
    for name, value in values.items():
        check_value(name, value)


def check_value(name: str, value: Any) -> None:
    """Checks one flag's value, or each of its values, against its choices and its interval. None is always allowed."""
    if value is None:
        return
    allowed = choices().get(name)
    if name == "debug" and isinstance(value, str):
        value = value.split()
    for one in value if isinstance(value, list | tuple) else [value]:
        if name in PLUGGABLE and is_reference(one):
            continue  # a path to the user's own, which is checked when it is loaded
        word = str(one).lower() if isinstance(one, bool) else one
        if allowed is not None and word not in allowed:
            shown = ", ".join(allowed) if len(allowed) < 20 else ", ".join((*allowed[:8], "..."))
            raise UserError(f"--{name} {one} is not known: use one of {shown}{did_you_mean(str(one), allowed)}")
        if isinstance(one, int | float) and not isinstance(one, bool) and not _inside(one, INTERVALS.get(name)):
            raise UserError(f"--{name} {one}: {_in_words(INTERVALS.get(name))}")


def _inside(number: float, interval: str | None) -> bool:
    """Whether a number is in an interval such as "[0, 1)"; without an interval, whether it is finite."""
    if math.isnan(number) or (math.isinf(number) and not (interval or "").endswith("inf]")):
        return False
    if interval is None:
        return True
    low, high = (float(part) for part in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    return above and (number <= high if interval[-1] == "]" else number < high)


def _in_words(interval: str | None) -> str:
    """What to do about a number outside an interval."""
    if interval is None:
        return "give a finite number"
    low, high = (part.strip() for part in interval[1:-1].split(","))
    if high == "inf":
        return f"give {low} or more" if interval[0] == "[" else f"give a number above {low}"
    return f"give a number in {interval}"


def check_unused(given: Collection[str], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses flags that have no effect here, unless they are set to their default."""
    for name in given:
        if name in UNUSED and values[name] != defaults.get(name):
            raise UserError(f"--{name} {as_words(values[name])} has no effect: {UNUSED[name]}")


def as_words(value: Any) -> str:
    """A value as it is written on a command line."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


# ----------------------------------------------------------------------------------------------------
# Precision of the trained weights
#
# A bfloat16 number has 8 significant bits: an update of 1e-6 to a weight of 0.01 is lost to rounding, so AdamW at the default
# learning rate leaves almost every bfloat16 weight where it is. DeepSpeed and FSDP keep a float32 copy of the weights; LoRA
# trains float32 adapters. Without any of these, the weights themselves are kept in float32, and autocast computes in the
# precision that --torch_dtype names.

# The precisions that autocast computes in, and the flag that switches each of them on.
AUTOCAST = {"bfloat16": "bf16", "float16": "fp16"}


def needs_float32(dtype: str | None, values: Mapping[str, Any]) -> bool:
    """Whether weights of --torch_dtype `dtype` must be kept in float32 because nothing else keeps a float32 copy."""
    return dtype in AUTOCAST and not _has_float32_copy(values)


def _has_float32_copy(values: Mapping[str, Any]) -> bool:
    """Whether DeepSpeed, FSDP or LoRA keeps float32 weights. accelerate's launcher sets the first two by its environment."""
    launched = any(
        os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("true", "1") for name in ("DEEPSPEED", "FSDP")
    )
    return bool(launched or values["deepspeed"] or values["fsdp"] or values["use_peft"])


def as_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """The value of a flag that accepts a JSON object, given as text or as a mapping; None is an empty one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UserError(f"--{name} is not JSON: {error}") from error
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"""--{name} {value}: give a JSON object, such as '{{"key": 1}}'""")
    return value or {}


def needs(what: str, module: str, package: str) -> None:
    """Raises UserError if the module that `what` needs is not installed."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{what} needs {package}, which is not installed: pip install {INSTALL.get(package, package)}")
