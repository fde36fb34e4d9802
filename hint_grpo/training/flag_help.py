"""The text of train_model.py --help (the flags that this project declares or uses) and --help_all (also those of TRL and
transformers). Written by hand, because argparse would print 200 flags without groups."""

import textwrap
from collections.abc import Iterable, Iterator

from hint_grpo.training.flag_values import UNUSED, choices
from hint_grpo.training.flags import UNKNOWN, Flag, declared_flags

USAGE = """\
usage: train_model.py --model_name_or_path MODEL --data_path FOLDER [flags]
       torchrun --nproc_per_node=N train_model.py --deepspeed local_scripts/zero3_offload.json ... (N GPUs)

Train a vision-language model with Hint-GRPO (README.md). Flags can also be set in a YAML file, --config FILE; the command
line wins. --help_all also lists the flags of TRL and transformers."""
# Characters per line, and the column in which the help texts begin.
WIDTH, INDENT = 118, 32
# Title -> flags. Flags of this project that are not listed here follow after the last group.
GROUPS: dict[str, tuple[str, ...]] = {
    "model and data": (
        "model_name_or_path",
        "data_path",
        "dataset_name",
        "image_prefixes",
        "keep_multiple_choice",
        "max_pixels",
        "check_data",
        "skip_bad",
    ),
    "hints": (
        "num_groups",
        "hint_policy",
        "hint_policy_args",
        "hint_ratio",
        "hint_injection",
        "escalation",
        "group_statistics",
        "keep_sampling",
    ),
    "rewards and loss": (
        "reward_funcs",
        "reward_weights",
        "accuracy",
        "accuracy_threshold",
        "scorer",
        "scale_rewards",
        "loss_type",
        "beta",
        "use_bias_correction_kl",
        "hint_loss_weight",
    ),
    "batches and lengths": (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_generations",
        "num_iterations",
        "max_prompt_length",
        "max_completion_length",
        "num_train_epochs",
        "max_steps",
        "learning_rate",
    ),
    "sampling": (
        "temperature",
        "use_vllm",
        "vllm_mode",
        "vllm_server_base_url",
        "vllm_gpu_memory_utilization",
        "vllm_enable_sleep_mode",
        "vllm_server_timeout",
        "vllm_group_port",
        "vllm_importance_sampling_mode",
    ),
    "precision, memory and processes": (
        "torch_dtype",
        "bf16",
        "attn_implementation",
        "deepspeed",
        "gradient_checkpointing",
        "use_cpu",
    ),
    "LoRA": ("use_peft", "lora_r", "lora_alpha", "lora_target_modules", "load_in_4bit"),
    "output, resuming and monitoring": (
        "output_dir",
        "save_steps",
        "save_total_limit",
        "save_only_model",
        "resume_from_checkpoint",
        "resume_anyway",
        "report_to",
        "logging_steps",
        "log_completions",
        "log_completions_steps",
        "num_completions_to_print",
        "keep_rollouts",
        "max_rollouts_mb",
        "report",
        "report_every",
        "max_bad_steps",
        "stage_timeout",
    ),
}


def print_help(*, everything: bool) -> None:
    print("\n".join(help_lines(everything=everything)))


def help_lines(*, everything: bool) -> Iterator[str]:
    """The lines of --help_all (`everything`) or --help."""
    flags = declared_flags()
    yield USAGE
    grouped = {name for names in GROUPS.values() for name in names}
    for title, names in GROUPS.items():
        yield from _group(title, (flags[name] for name in names if name in flags))
    others = [flag for flag in flags.values() if flag.own and flag.name not in grouped]
    yield from _group("other flags of this project", others)
    if everything:
        rest = [flag for flag in flags.values() if not flag.own and flag.name not in grouped | UNUSED.keys()]
        yield from _group("flags of TRL and transformers", rest)


def _group(title: str, flags: Iterable[Flag]) -> Iterator[str]:
    """A heading and its flags; nothing if there are none."""
    lines = [line for flag in flags for line in _entry(flag)]
    if lines:
        yield from ("", f"{title}:", *lines)


def _entry(flag: Flag) -> Iterator[str]:
    """One flag: its name and values, and beside or below them its help."""
    head = f"  --{flag.name} {_placeholder(flag)}".rstrip()
    text = flag.help + _default(flag)
    body = textwrap.wrap(text, WIDTH - INDENT) or [""]
    if len(head) < INDENT - 1:
        yield f"{head:<{INDENT}}{body.pop(0)}"
    else:
        yield head
    for line in body:
        yield " " * INDENT + line


def _placeholder(flag: Flag) -> str:
    """The placeholder for the value: its choices if they are few, else N, X, JSON or VALUE."""
    allowed = choices().get(flag.name)
    if flag.kind == "bool":
        return "[true|false]"
    if allowed and len(allowed) <= 5:
        return "|".join(allowed)
    word = {"int": "N", "float": "X", "json": "JSON"}.get(flag.kind, "VALUE")
    return f"{word} ..." if flag.many else word


def _default(flag: Flag) -> str:
    """ " (default: 3)"; nothing for a default that is empty, false or computed at run time."""
    if flag.default is UNKNOWN or flag.default in (None, "", [], False):
        return ""
    shown = " ".join(map(str, flag.default)) if isinstance(flag.default, list) else str(flag.default)
    return f" (default: {shown.lower() if isinstance(flag.default, bool) else shown})"
