"""The flags of train_model.py, read from the source text of the dataclasses that declare them.

Importing TRL and transformers takes many seconds; a wrong flag and `--help` should not wait for it. The dataclasses stay the only
declaration: this module parses their files (of the installed versions) and imports none of them.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

# Where the dataclasses stand; of a field declared twice the later one counts. (class, (file, class), ...)
SOURCES = (
    ("ScriptArguments", (("hint_grpo", "training/config.py", "ScriptArguments"),)),
    (
        "HintGRPOConfig",
        (
            ("transformers", "training_args.py", "TrainingArguments"),
            ("trl", "trainer/base_config.py", "_BaseConfig"),
            ("trl", "trainer/grpo_config.py", "GRPOConfig"),
            ("hint_grpo", "training/config.py", "HintGRPOConfig"),
        ),
    ),
    ("ModelConfig", (("trl", "trainer/model_config.py", "ModelConfig"),)),
)
# Objects that no command line can give.
NOT_FLAGS = frozenset({"parallelism_config", "local_rank"})
Kind = Literal["bool", "int", "float", "str", "json"]


class Unknown:
    """A default that is computed at run time."""

    def __repr__(self) -> str:
        return "(computed)"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Flag:
    """One field. `many`: takes several values; `optional`: null in a YAML file; `own`: declared by this project."""

    name: str
    owner: str
    kind: Kind
    many: bool
    optional: bool
    default: Any
    choices: tuple[str, ...] | None
    help: str
    own: bool


@cache
def declared_flags() -> dict[str, Flag]:
    """Every flag by name, in the order of the dataclasses."""
    flags: dict[str, Flag] = {}
    for owner, sources in SOURCES:
        for package, file, name in sources:
            for statement in _fields(_tree(package, file), name):
                flag = _flag(statement, owner, own=package == "hint_grpo")
                if flag is not None:
                    flags[flag.name] = flag
    return {name: flag for name, flag in flags.items() if name not in NOT_FLAGS}


def enum_values(package: str, file: str, name: str) -> tuple[str, ...]:
    """The values of a string enum in a package's source."""
    members = [node for node in _class(_tree(package, file), name).body if isinstance(node, ast.Assign)]
    return tuple(str(node.value.value) for node in members if isinstance(node.value, ast.Constant))


def dict_keys(package: str, file: str, name: str) -> tuple[str, ...]:
    """The keys of a dictionary at the top level of a package's source."""
    for node in _tree(package, file).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == name:
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise LookupError(f"{package}/{file} has no dictionary {name}")


def installed(package: str) -> Path | None:
    """The folder of a package, which is not imported; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else None


@cache
def _tree(package: str, file: str) -> ast.Module:
    folder = installed(package)
    if folder is None:
        raise ModuleNotFoundError(f"No module named {package!r}")
    return ast.parse((folder / file).read_text(encoding="utf-8"))


def _class(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _fields(tree: ast.Module, name: str) -> Iterator[ast.AnnAssign]:
    for node in _class(tree, name).body:
        if isinstance(node, ast.AnnAssign):
            yield node


def _flag(statement: ast.AnnAssign, owner: str, *, own: bool) -> Flag | None:
    """None for what is not a flag: a field that __init__ does not take, a class variable."""
    settings = _settings(statement.value)
    if ast.unparse(statement.annotation).startswith("ClassVar") or settings.get("init") is False:
        return None
    metadata = settings.get("metadata", {})
    kind, many, optional, choices = _type(statement.annotation)
    default = settings.get("default", settings.get("default_factory", UNKNOWN))
    return Flag(
        name=ast.unparse(statement.target),
        owner=owner,
        kind=kind,
        many=many,
        optional=optional or default is None,
        default=default,
        choices=choices or (tuple(listed) if isinstance(listed := metadata.get("choices"), list | tuple) else None),
        help=" ".join(str(metadata.get("help", "")).replace("%%", "%").split()),
        own=own,
    )


def _settings(value: ast.expr | None) -> dict[str, Any]:
    """The keyword arguments of `field(...)`, evaluated; of a plain default `x: int = 1` that default."""
    if not isinstance(value, ast.Call):
        return {} if value is None else {"default": _evaluated(value)}
    settings: dict[str, Any] = {}
    for keyword in value.keywords:
        if keyword.arg == "metadata" and isinstance(keyword.value, ast.Dict):
            pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
            settings["metadata"] = {key.value: _evaluated(one) for key, one in pairs if isinstance(key, ast.Constant)}
        elif keyword.arg is not None:
            settings[keyword.arg] = _evaluated(keyword.value)
    return settings


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Lambda):
        node = node.body
    if isinstance(node, ast.Name) and node.id in ("list", "dict"):
        return [] if node.id == "list" else {}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def _type(annotation: ast.expr) -> tuple[Kind, bool, bool, tuple[str, ...] | None]:
    """(kind, many, optional, choices) of an annotation such as `list[str] | None`."""
    parts = _union(annotation)
    names = [ast.unparse(part) for part in parts]
    optional = "None" in names
    lists = [part for part in parts if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "list"]
    literals = [part for part in parts if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "Literal"]
    if lists:
        inner = ast.unparse(lists[0].slice)
        return ("float" if inner == "float" else "str"), True, optional, None
    if any(name.startswith("dict") for name in names):
        return "json", False, optional, None
    if literals and len(parts) - optional == 1:
        return "str", False, optional, tuple(ast.literal_eval(literals[0].slice))
    plain: dict[str, Kind] = {"bool": "bool", "int": "int", "float": "float"}
    kinds = {plain.get(name, "str") for name in names if name != "None"}
    return (kinds.pop() if len(kinds) == 1 else "str"), False, optional, None


def _union(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_union(annotation.left), *_union(annotation.right)]
    return [annotation]


# ----------------------------------------------------------------------------------------------------
# Which values train_model.py's flags take: choices, ranges, packages that a choice needs, and flags that nothing here uses.
#
# Plain tables. Values that belong to an installed library are read from its source, so that they follow its version.

LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")
HALF = ("bfloat16", "float16")
CACHES = ("static", "offloaded_static", "dynamic", "offloaded", "quantized")

# Flags that take true and false beside their words, and what those stand for.
TRUTH = {
    "scale_rewards": {"true": "group", "false": "none"},
    "include_num_input_tokens_seen": {"true": "all", "false": "no"},
}

# What a flag's number must be in: interval notation, as in mathematics.
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
    # hints, life of a run
    "num_groups": "[1, inf)",
    "hint_ratio": "[0, 1)",
    "max_bad_steps": "[1, inf)",
    "stage_timeout": "(0, inf)",
    "warn_without_signal": "[1, inf)",
    "max_logp_gap": "(0, inf]",
    "logging_steps": "(0, inf)",
    "save_steps": "(0, inf)",
    "save_total_limit": "[1, inf)",
    "num_completions_to_print": "[0, inf)",
    "seed": "[0, 4294967295]",
    "dataloader_num_workers": "[0, inf)",
    "dataloader_prefetch_factor": "[1, inf)",
    "ddp_timeout": "[1, inf)",
    "ddp_bucket_cap_mb": "[1, inf)",
}

# Flags of TRL and transformers that have no effect here, and what to do instead. Refused unless they are given their default.
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
    "chat_template_kwargs": "prompts are built by hint_grpo/prompts.py",
    "data_seed": "the order of the data follows --seed",
    "ds3_gather_for_generation": "ZeRO-3 weights are always gathered to sample",
    "label_smoothing_factor": "the GRPO loss has no labels",
    "label_names": "the GRPO loss has no labels",
    "lora_task_type": "the model is a causal language model",
    "max_tool_calling_iterations": "the model calls no tools",
    "remove_unused_columns": "the rewards need every column",
    "train_sampling_strategy": "prompts are shuffled; --shuffle_dataset false keeps the file's order",
    "transformers_continuous_batching_config": "it does not support vision-language models; use --use_vllm true",
    "use_transformers_continuous_batching": "it does not support vision-language models; use --use_vllm true",
    "use_transformers_paged": "it does not support vision-language models; use --use_vllm true",
    "vllm_structured_outputs_regex": "completions are sampled freely",
}

# What a choice needs to be installed: the value -> (module, package).
TRACKERS = {
    "azure_ml": ("azureml", "azureml-mlflow"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "flyte": ("flytekit", "flytekit"),
}
OPTIMIZER_PACKAGES = (  # part of the name -> (module, package)
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


@cache
def choices() -> dict[str, tuple[str, ...]]:
    """The values of every flag that has a fixed set of them."""
    declared = {flag.name: flag.choices for flag in declared_flags().values() if flag.choices}
    schedulers = enum_values("transformers", "trainer_utils.py", "SchedulerType")
    intervals = enum_values("transformers", "trainer_utils.py", "IntervalStrategy")
    return declared | {
        "torch_dtype": ("auto", *HALF, "float32"),
        "dtype": ("auto", *HALF, "float32"),
        "loss_type": LOSSES,
        "scale_rewards": ("group", "batch", "none", "true", "false"),
        "importance_sampling_level": ("token", "sequence"),
        "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
        "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
        "vllm_mode": ("auto", "colocate", "server"),
        "vllm_model_impl": ("vllm", "transformers", "auto"),
        "cache_implementation": CACHES,
        # These two need an evaluation.
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
