"""What is wrong with the values of train_model.py's flags: each check raises UserError with one line that says what to do.

Light to import, so that a mistake is found before torch loads. `hint_grpo.training.command_line` checks what was given;
`HintGRPOConfig.__post_init__` checks its own fields again, for programs that build one without a command line.
"""

import importlib.util
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hint_grpo.machine.errors import UserError, did_you_mean
from hint_grpo.machine.hardware import count_gpus, under_torchrun
from hint_grpo.machine.output_folder import check_output
from hint_grpo.scoring.rewards import REWARD_NAMES
from hint_grpo.training.flags import HALF, INTERVALS, OPTIMIZER_PACKAGES, TRACKERS, UNUSED, choices

Values = Mapping[str, Any]
ATTENTION = ("sdpa", "eager", "flex_attention")
FLASH = {
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
    "flash_attention_4": "flash_attn",
}
KERNEL = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?(:[\w.-]+)?")
SERVER_DEFAULTS = ("0.0.0.0", 8000)  # TRL's
LORA_FLAGS = ("use_rslora", "use_dora", "load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant")


def check_value(name: str, value: Any) -> None:
    """One flag's value against its choices and its interval."""
    if value is None:
        return
    allowed = choices().get(name)
    if name == "debug" and isinstance(value, str):
        value = value.split()
    for one in value if isinstance(value, list | tuple) else [value]:
        word = str(one).lower() if isinstance(one, bool) else one
        if allowed is not None and word not in allowed:
            shown = ", ".join(allowed) if len(allowed) < 20 else ", ".join((*allowed[:8], "..."))
            raise UserError(f"--{name} {one} is not known: use one of {shown}{did_you_mean(str(one), allowed)}")
        if isinstance(one, int | float) and not isinstance(one, bool) and not _inside(one, INTERVALS.get(name)):
            raise UserError(f"--{name} {one}: {_in_words(INTERVALS.get(name))}")


def _inside(number: float, interval: str | None) -> bool:
    if math.isnan(number) or (math.isinf(number) and not (interval or "").endswith("inf]")):
        return False
    if interval is None:
        return True
    low, high = (float(part) for part in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    return above and (number <= high if interval[-1] == "]" else number < high)


def _in_words(interval: str | None) -> str:
    if interval is None:
        return "give a finite number"
    low, high = (part.strip() for part in interval[1:-1].split(","))
    if high == "inf":
        return f"give {low} or more" if interval[0] == "[" else f"give a number above {low}"
    return f"give a number in {interval}"


def check_values(values: Values) -> None:
    for name, value in values.items():
        check_value(name, value)


def check_unused(given: Collection[str], values: Values, defaults: Values) -> None:
    """Flags that would change nothing are refused."""
    for name in given:
        if name in UNUSED and values[name] != defaults.get(name):
            raise UserError(f"--{name} {_shown(values[name])} has no effect: {UNUSED[name]}")


def check_training(values: Values) -> None:
    """GRPOConfig's fields, the ones of this project included."""
    if values["eval_strategy"] != "no":
        raise UserError(f"--eval_strategy {values['eval_strategy']} has no effect: {UNUSED['eval_strategy']}")
    _check_hints(values)
    _check_batches(values)
    _check_loss(values)
    _check_rollouts(values)
    _check_optimizer(values)
    _check_launch(values)
    check_trackers(values.get("report_to"))
    check_output(values["output_dir"])


def _check_hints(values: Values) -> None:
    policy, ratio = values["hint_policy"], values["hint_ratio"]
    if policy == "fixed" and ratio is None:
        raise UserError("--hint_policy fixed needs --hint_ratio in [0, 1), such as 0.5")
    if policy != "fixed" and ratio is not None:
        raise UserError(f"--hint_ratio goes with --hint_policy fixed, not with {policy}")


def _check_batches(values: Values) -> None:
    steps, batch = values["steps_per_generation"], values["generation_batch_size"]
    if values["max_steps"] == 0 or values["max_steps"] < -1:
        raise UserError(f"--max_steps {values['max_steps']}: give 1 or more, or -1 for --num_train_epochs")
    if steps is not None and batch is not None:
        raise UserError("--steps_per_generation and --generation_batch_size say the same thing: give one of them")
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    one_step = values["per_device_train_batch_size"] * values["num_generations"] * num_processes
    if batch is not None and batch % one_step:
        raise UserError(
            f"--generation_batch_size {batch} counts completions and must be divisible by those of one batch: "
            f"{values['per_device_train_batch_size']} prompt(s) x {values['num_generations']} x {num_processes} process(es) = "
            f"{one_step}"
        )
    for name in ("logging_steps", "save_steps"):
        if values[name] > 1 and values[name] != int(values[name]):
            raise UserError(f"--{name} {values[name]}: give a whole number, or a share of the run below 1")
    if values["dataloader_num_workers"] == 0 and (
        values["dataloader_prefetch_factor"] is not None or values["dataloader_persistent_workers"]
    ):
        raise UserError(
            "--dataloader_prefetch_factor and --dataloader_persistent_workers need --dataloader_num_workers 1 or more"
        )


def _check_loss(values: Values) -> None:
    low, high = values["vllm_importance_sampling_clip_min"], values["vllm_importance_sampling_clip_max"]
    if low is not None and high is not None and low >= high:
        raise UserError(
            f"--vllm_importance_sampling_clip_min {low} must be below --vllm_importance_sampling_clip_max {high}"
        )
    mode = values["vllm_importance_sampling_mode"]
    if values["loss_type"] == "vespo" and mode.startswith("sequence"):
        raise UserError(
            f"--loss_type vespo needs --vllm_importance_sampling_mode token_truncate or token_mask, not {mode}"
        )
    if values["loss_type"] == "luspo" and values["importance_sampling_level"] != "sequence":
        raise UserError("--loss_type luspo needs --importance_sampling_level sequence")
    if values["sync_ref_model"] and values["beta"] == 0:
        raise UserError("--sync_ref_model true has no reference model to update with --beta 0: leave one of them out")
    if values["entropy_coef_min"] > values["entropy_coef_max"]:
        raise UserError("--entropy_coef_min is above --entropy_coef_max")
    if values["log_completions_hub_repo"] and not values["log_completions"]:
        raise UserError("--log_completions_hub_repo needs --log_completions true")


def _check_rollouts(values: Values) -> None:
    url, mode = values["vllm_server_base_url"], values["vllm_mode"]
    if not values["use_vllm"] and (url is not None or mode != "auto"):
        flag = f"--vllm_server_base_url {url}" if url is not None else f"--vllm_mode {mode}"
        raise UserError(f"{flag} goes with --use_vllm true")
    if values["use_vllm"] and importlib.util.find_spec("vllm") is None:
        raise UserError("--use_vllm true needs vLLM: pip install -r requirements.txt, or use --use_vllm false")
    if url is None and (values["vllm_server_host"], values["vllm_server_port"]) != SERVER_DEFAULTS:
        raise UserError(
            "--vllm_server_host and --vllm_server_port are not used: give --vllm_server_base_url http://HOST:PORT for a "
            "server that you run"
        )
    if url is not None and not str(url).startswith(("http://", "https://")):
        raise UserError(f"--vllm_server_base_url {url}: give http://HOST:PORT")
    if values["vllm_enable_sleep_mode"] and mode == "server":
        raise UserError("--vllm_enable_sleep_mode true goes with --vllm_mode colocate: a server has its own GPUs")
    if values["vllm_enable_sleep_mode"] and count_gpus() == 0:
        raise UserError("--vllm_enable_sleep_mode true needs a GPU")


def _check_optimizer(values: Values) -> None:
    optimizer = str(values.get("optim", ""))
    for part, module, package in OPTIMIZER_PACKAGES:
        if part in optimizer:
            _needs(f"--optim {optimizer}", module, package)
            break
    if ("galore" in optimizer or "apollo" in optimizer) and values["optim_target_modules"] is None:
        raise UserError(f"--optim {optimizer} needs --optim_target_modules, such as all-linear")
    if values["use_liger_kernel"]:
        _needs("--use_liger_kernel true", "liger_kernel", "liger-kernel")
    if values["bf16"] and values["fp16"]:
        raise UserError("--bf16 and --fp16 exclude each other")
    on_cpu = values["use_cpu"] or count_gpus() == 0
    if values["bf16"] and on_cpu and not values["use_cpu"]:
        raise UserError("--bf16 needs a GPU: leave it out, or add --use_cpu true to train in bfloat16 on the CPU")
    for name in ("fp16", "tf32"):
        if values[name] and on_cpu:
            raise UserError(f"--{name} true needs a GPU")


def _check_launch(values: Values) -> None:
    """DeepSpeed and FSDP need torchrun's variables; without them DeepSpeed asks for MPI."""
    deepspeed, fsdp = values["deepspeed"], values["fsdp"]
    if deepspeed and fsdp:
        raise UserError("--deepspeed and --fsdp exclude each other")
    if isinstance(deepspeed, str) and not deepspeed.lstrip().startswith("{"):
        path = Path(deepspeed)
        if not path.is_file():
            raise UserError(
                f"--deepspeed {deepspeed} does not exist; local_scripts/ holds the project's configurations"
            )
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"--deepspeed {deepspeed} is not JSON: {error}") from error
    if deepspeed:
        _needs("--deepspeed", "deepspeed", "deepspeed")
    if (deepspeed or fsdp) and not under_torchrun():
        flag = "--deepspeed" if deepspeed else "--fsdp"
        raise UserError(
            f"{flag} needs torchrun, with one process too: torchrun --nproc_per_node=1 train_model.py {flag} ... "
            "(--nproc_per_node=N for N GPUs)"
        )


def check_trackers(report_to: Any) -> None:
    """`--report_to`: every tracker must be installed."""
    names = [report_to] if isinstance(report_to, str) else report_to or []
    if "none" in names and len(names) > 1:
        raise UserError(f"--report_to {' '.join(names)}: none goes alone")
    for name in names:
        if name == "tensorboard" and importlib.util.find_spec("tensorboardX") is not None:
            continue
        if name not in ("none", "all", "kubeflow"):
            module, package = TRACKERS.get(name, (name, name))
            _needs(f"--report_to {name}", module, package)


def check_script(values: Values) -> None:
    """ScriptArguments' fields."""
    folder = values["data_path"]
    if not folder:
        raise UserError("--data_path is missing: give the folder of LLaVA-CoT-100k (the one that holds train.jsonl)")
    if not Path(folder).is_dir():
        raise UserError(f"--data_path {folder} is not a folder; give the one that holds train.jsonl")
    names = values["reward_funcs"]
    unknown = [name for name in names if name not in REWARD_NAMES]
    if unknown or not names:
        raise UserError(
            f"unknown reward {', '.join(unknown) or '(none)'}: --reward_funcs takes {', '.join(REWARD_NAMES)}"
        )
    if len(set(names)) < len(names):
        raise UserError(f"--reward_funcs {' '.join(names)}: give each reward once, and its weight by --reward_weights")
    if values["skip_bad"] and not values["check_data"]:
        raise UserError("--skip_bad goes with --check_data; without it, bad samples are skipped as they come up")


def check_together(given: Collection[str], values: Values) -> None:
    """What no dataclass sees alone."""
    weights, rewards = values["reward_weights"], values["reward_funcs"]
    if weights is not None and len(weights) != len(rewards):
        raise UserError(
            f"--reward_weights has {len(weights)} number(s) and --reward_funcs {len(rewards)}: give one for each reward"
        )
    if values["torch_dtype"] and "dtype" in given and values["dtype"] != values["torch_dtype"]:
        raise UserError(f"--torch_dtype {values['torch_dtype']} and --dtype {values['dtype']} differ: give one of them")
    taken = {"dtype": "torch_dtype", "attn_implementation": "attn_implementation", "revision": "model_revision"}
    extra = _as_mapping("model_init_kwargs", values["model_init_kwargs"])
    for name, flag in taken.items():
        if name in extra or f"torch_{name}" in extra:
            raise UserError(f"--model_init_kwargs holds {name}: use --{flag}")
    if values["sync_ref_model"] and values["use_peft"]:
        raise UserError("--sync_ref_model true does not work with --use_peft: LoRA has no second model to update")
    folder = values["resume_from_checkpoint"]
    words = ("true", "yes", "latest", "false", "no", "none")
    if folder and str(folder).lower() not in words and not (Path(folder) / "trainer_state.json").is_file():
        raise UserError(
            f"--resume_from_checkpoint {folder} is not a checkpoint (no trainer_state.json); true means the last one"
        )
    _check_lora(given, values)
    _check_precision(values)


def _check_lora(given: Collection[str], values: Values) -> None:
    quantized = next((name for name in ("load_in_4bit", "load_in_8bit") if values[name]), None)
    if not values["use_peft"]:
        for name in given:
            if name.startswith("lora_") or (name in LORA_FLAGS and values[name] not in (False, None)):
                raise UserError(f"--{name} {_shown(values[name])} needs --use_peft true")
        return
    _needs("--use_peft true", "peft", "peft")
    for name in ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage"):
        if name in given and values[name] not in (False, None) and not values["load_in_4bit"]:
            raise UserError(f"--{name} {_shown(values[name])} needs --load_in_4bit true")
    if quantized is None:
        return
    if values["load_in_4bit"] and values["load_in_8bit"]:
        raise UserError("--load_in_4bit and --load_in_8bit exclude each other")
    if values["use_cpu"] or count_gpus() == 0:
        raise UserError(f"--{quantized} true needs an NVIDIA GPU")
    _needs(f"--{quantized} true", "bitsandbytes", "bitsandbytes")
    if values["use_vllm"]:
        raise UserError(
            f"--{quantized} true needs --use_vllm false: quantised weights cannot be handed to vLLM after each step"
        )
    if values["deepspeed"] or values["fsdp"]:
        raise UserError(f"--{quantized} true does not work with --deepspeed or --fsdp: each process holds the model")


def _check_precision(values: Values) -> None:
    dtype = values["torch_dtype"] or values["dtype"]
    if values["bf16"] and dtype == "float16":
        raise UserError("--bf16 and --torch_dtype float16 differ: use --fp16, or --torch_dtype bfloat16")
    if values["fp16"] and dtype == "bfloat16":
        raise UserError("--fp16 and --torch_dtype bfloat16 differ: use --bf16, or --torch_dtype float16")
    if dtype == "float16" and (values["use_cpu"] or count_gpus() == 0):
        raise UserError("--torch_dtype float16 needs a GPU: use float32")
    if values["deepspeed"] and dtype in HALF and not (values["bf16"] or values["fp16"]):
        flag = "--bf16" if dtype == "bfloat16" else "--fp16"
        raise UserError(f"--torch_dtype {dtype} with --deepspeed needs {flag} (DeepSpeed keeps the float32 copy)")


def check_attention(implementation: str | None, *, on_cpu: bool) -> None:
    """`--attn_implementation`: known, and installed."""
    if implementation is None or implementation in ATTENTION:
        return
    if KERNEL.fullmatch(implementation):
        _needs(f"--attn_implementation {implementation}", "kernels", "kernels")
        return
    flash = FLASH.get(implementation)
    if flash is None:
        known = (*ATTENTION, *FLASH)
        raise UserError(
            f"--attn_implementation {implementation} is not known: use one of {', '.join(known)}, or a kernel of the Hub "
            f"(kernels-community/flash-attn2){did_you_mean(implementation, known)}"
        )
    if on_cpu or count_gpus() == 0:
        raise UserError(f"--attn_implementation {implementation} needs a GPU: use --attn_implementation sdpa")
    if importlib.util.find_spec(flash) is None:
        raise UserError(
            f"--attn_implementation {implementation} needs flash-attn: pip install flash-attn --no-build-isolation (it is "
            "built against your torch), or use --attn_implementation sdpa, or a kernel of the Hub: --attn_implementation "
            "kernels-community/flash-attn2 (pip install kernels)"
        )


def _as_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """A JSON object, as text or as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UserError(f"--{name} is not JSON: {error}") from error
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"""--{name} {value}: give a JSON object, such as '{{"key": 1}}'""")
    return value or {}


def _needs(what: str, module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{what} needs {package}, which is not installed: pip install {package}")


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
