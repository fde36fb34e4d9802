"""Checks of the values of train_model.py's flags. Each raises UserError with one line: what is wrong, and the fix.

`command_line.check` runs all of them before torch is imported, so nothing here may import it. `HintGRPOConfig` and
`ScriptArguments` run those of their own fields again, for programs that build them without a command line.

`values` maps every flag to its value, `given` holds only what the user set.
"""

import importlib.util
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hint_grpo import hub
from hint_grpo.families import vllm_supports
from hint_grpo.machine.errors import UserError, did_you_mean
from hint_grpo.machine.files import check_output
from hint_grpo.machine.hardware import check_gpus, count_gpus, under_torchrun
from hint_grpo.policies.base import HintPolicy, sizes_of
from hint_grpo.policies.registry import make_policy
from hint_grpo.rollout.placement import Placement, placement_of
from hint_grpo.scoring.rewards import check_rewards
from hint_grpo.training.flag_values import (
    HALF_PRECISIONS,
    OPTIMIZER_PACKAGES,
    TRACKERS,
    as_mapping,
    as_words,
    check_unused,
    needs,
)

Values = Mapping[str, Any]
# transformers' attention implementations: those that need nothing else, and the flash-attention ones with their module.
ATTENTION = ("sdpa", "eager", "flex_attention")
FLASH = {
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
    "flash_attention_4": "flash_attn",
}
# A kernel of the Hub: OWNER/NAME, optionally with @REVISION and :FUNCTION.
KERNEL = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?(:[\w.-]+)?")
# TRL's defaults of --vllm_server_host and --vllm_server_port.
SERVER_DEFAULTS = ("0.0.0.0", 8000)
# Besides --lora_*: flags that have no effect without --use_peft.
LORA_FLAGS = ("use_rslora", "use_dora", "load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant")

# ----------------------------------------------------------------------------------------------------
# The checks by subject, in the order in which command_line.check runs them


def check_script(values: Values) -> None:
    """The fields of ScriptArguments."""
    folder = values["data_path"]
    if not folder:
        raise UserError("--data_path is missing: give the folder of LLaVA-CoT-100k (the one that holds train.jsonl)")
    if not Path(folder).is_dir():
        raise UserError(f"--data_path {folder} is not a folder; give the one that holds train.jsonl")
    check_rewards(values["reward_funcs"], values["accuracy"], values["scorer"])
    if values["skip_bad"] and not values["check_data"]:
        raise UserError("--skip_bad needs --check_data; without --check_data, bad samples are skipped during training")


def check_together(given: Collection[str], values: Values) -> None:
    """Combinations of flags that belong to different dataclasses."""
    weights, rewards = values["reward_weights"], values["reward_funcs"]
    if weights is not None and len(weights) != len(rewards):
        raise UserError(
            f"--reward_weights has {len(weights)} number(s) and --reward_funcs {len(rewards)}: give one for each reward"
        )
    if values["torch_dtype"] and "dtype" in given and values["dtype"] != values["torch_dtype"]:
        raise UserError(f"--torch_dtype {values['torch_dtype']} and --dtype {values['dtype']} differ: give one of them")
    # What the model is loaded with has its own flags: --model_init_kwargs must not set it a second time.
    flag_of = {"dtype": "torch_dtype", "attn_implementation": "attn_implementation", "revision": "model_revision"}
    extra = as_mapping("model_init_kwargs", values["model_init_kwargs"])
    for name, flag in flag_of.items():
        if name in extra or f"torch_{name}" in extra:
            raise UserError(f"--model_init_kwargs holds {name}: use --{flag}")
    if values["sync_ref_model"] and values["use_peft"]:
        raise UserError("--sync_ref_model true does not work with --use_peft: LoRA has no second model to update")
    folder = values["resume_from_checkpoint"]
    keywords = ("true", "yes", "latest", "false", "no", "none")
    if folder and str(folder).lower() not in keywords and not (Path(folder) / "trainer_state.json").is_file():
        raise UserError(
            f"--resume_from_checkpoint {folder} is not a checkpoint (no trainer_state.json); use true for the last checkpoint"
        )
    _check_lora(given, values)
    _check_precision(values)


def check_training(values: Values) -> Placement:
    """The fields of HintGRPOConfig and whether this machine has what they need. Returns where the rollouts are sampled."""
    check_unused(("eval_strategy",), values, {"eval_strategy": "no"})
    _check_hints(values)
    _check_batches(values)
    _check_loss(values)
    _check_rollouts(values)
    _check_optimizer(values)
    _check_launch(values)
    _check_trackers(values.get("report_to"))
    if not (values["keep_rollouts"] in ("all", "trained") or values["keep_rollouts"].isdecimal()):
        raise UserError(
            f"--keep_rollouts {values['keep_rollouts']}: give all, trained, or a number of prompts per step"
        )
    if values["report_every"] and not values["report"]:
        raise UserError(f"--report_every {values['report_every']} needs --report true")
    check_output(values["output_dir"])
    if not values["use_cpu"]:
        check_gpus()
    return placement_of(values, 0 if values["use_cpu"] else count_gpus())


def check_model(values: Values) -> None:
    """The model, as far as its small files show it: its folder or Hub name, its files, vLLM's support, its attention."""
    name = values["model_name_or_path"]
    if not name:
        raise UserError(
            "--model_name_or_path is missing: give a vision-language model's folder or Hub name (docs/running.md, Models)"
        )
    folder = hub.find_model(name, "--model_name_or_path", revision=values["model_revision"])
    weights = hub.ANY_WEIGHTS if hub.is_folder(name) else ()  # those of a Hub name are not downloaded yet
    hub.check_model_files(folder, f"--model_name_or_path {name}", weights=weights)
    if values["use_vllm"] and not vllm_supports(folder):
        raise UserError(f"vLLM does not support the model of {name}: use --use_vllm false")
    _check_attention(values["attn_implementation"], on_cpu=values["use_cpu"])


# ----------------------------------------------------------------------------------------------------
# Parts of check_together


def _check_lora(given: Collection[str], values: Values) -> None:
    """LoRA and quantised weights: what they need, and what they exclude."""
    quantized = next((name for name in ("load_in_4bit", "load_in_8bit") if values[name]), None)
    if not values["use_peft"]:
        for name in given:
            if name.startswith("lora_") or (name in LORA_FLAGS and values[name] not in (False, None)):
                raise UserError(f"--{name} {as_words(values[name])} needs --use_peft true")
        return
    needs("--use_peft true", "peft", "peft")
    for name in ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage"):
        if name in given and values[name] not in (False, None) and not values["load_in_4bit"]:
            raise UserError(f"--{name} {as_words(values[name])} needs --load_in_4bit true")
    if quantized is None:
        return
    if values["load_in_4bit"] and values["load_in_8bit"]:
        raise UserError("--load_in_4bit and --load_in_8bit exclude each other")
    if values["use_cpu"] or count_gpus() == 0:
        raise UserError(f"--{quantized} true needs an NVIDIA GPU")
    needs(f"--{quantized} true", "bitsandbytes", "bitsandbytes")
    if values["use_vllm"]:
        raise UserError(
            f"--{quantized} true needs --use_vllm false: quantised weights cannot be sent to vLLM after each step"
        )
    if values["deepspeed"] or values["fsdp"]:
        raise UserError(
            f"--{quantized} true does not work with --deepspeed or --fsdp: each process holds the whole model"
        )


def _check_precision(values: Values) -> None:
    """The weights' precision (--torch_dtype) against that of the computation (--bf16, --fp16), the device and DeepSpeed."""
    dtype = values["torch_dtype"] or values["dtype"]
    if values["bf16"] and dtype == "float16":
        raise UserError("--bf16 and --torch_dtype float16 differ: use --fp16, or --torch_dtype bfloat16")
    if values["fp16"] and dtype == "bfloat16":
        raise UserError("--fp16 and --torch_dtype bfloat16 differ: use --bf16, or --torch_dtype float16")
    if dtype == "float16" and (values["use_cpu"] or count_gpus() == 0):
        raise UserError("--torch_dtype float16 needs a GPU: use float32")
    if values["deepspeed"] and dtype in HALF_PRECISIONS and not (values["bf16"] or values["fp16"]):
        flag = "--bf16" if dtype == "bfloat16" else "--fp16"
        raise UserError(f"--torch_dtype {dtype} with --deepspeed needs {flag} (DeepSpeed keeps the float32 copy)")


# ----------------------------------------------------------------------------------------------------
# Parts of check_training


def _check_hints(values: Values) -> None:
    """--hint_policy and its settings."""
    policy, ratio = values["hint_policy"], values["hint_ratio"]
    if policy == "fixed" and ratio is None:
        raise UserError("--hint_policy fixed needs --hint_ratio in [0, 1), such as 0.5")
    if policy != "fixed" and ratio is not None:
        raise UserError(f"--hint_ratio needs --hint_policy fixed, not {policy}")
    sizes = sizes_of(policy_of(values), values["num_generations"])
    if values["group_statistics"] == "separate":
        if sizes is None:
            raise UserError(f"--group_statistics separate needs a policy that mixes hints in a group, not {policy}")
        if values["scale_rewards"] not in ("group", "none"):
            raise UserError("--group_statistics separate needs --scale_rewards group or none")
    if sizes and values["escalation"] == "eager":
        raise UserError(
            f"--escalation eager does not work with --hint_policy {policy}: each round depends on the one before"
        )


def policy_arguments(values: Values) -> Mapping[str, Any]:
    """--hint_policy_args as a mapping. Raises UserError if it is not one."""
    return as_mapping("hint_policy_args", values["hint_policy_args"])


def policy_of(values: Values) -> HintPolicy:
    """The hint policy that the flags describe. Raises UserError for a mistake in them."""
    return make_policy(
        values["hint_policy"],
        num_levels=values["num_groups"],
        ratio=values["hint_ratio"] or 0.0,
        counts=values["hint_counts"],
        equal_hints=values["equal_hints"],
        arguments=policy_arguments(values),
    )


def _check_batches(values: Values) -> None:
    """Sizes and counts: steps, completions per generation, intervals of logging and saving, data loading."""
    steps, batch = values["steps_per_generation"], values["generation_batch_size"]
    if values["max_steps"] == 0 or values["max_steps"] < -1:
        raise UserError(f"--max_steps {values['max_steps']}: give 1 or more, or -1 for --num_train_epochs")
    if steps is not None and batch is not None:
        raise UserError("--steps_per_generation and --generation_batch_size set the same thing: give one of them")
    # Completions of one batch on all processes: whole groups of num_generations.
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    one_batch = values["per_device_train_batch_size"] * values["num_generations"] * num_processes
    if batch is not None and batch % one_batch:
        raise UserError(
            f"--generation_batch_size {batch} counts completions and must be divisible by those of one batch: "
            f"{values['per_device_train_batch_size']} prompt(s) x {values['num_generations']} x {num_processes} process(es) = "
            f"{one_batch}"
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
    """The loss, its importance sampling and its reference model."""
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
        raise UserError(
            "--sync_ref_model true and --beta 0: without the KL term a run has no reference model to update; "
            "leave one of them out"
        )
    if values["hint_loss_weight"]:
        if values["hint_injection"] == "query":
            raise UserError(
                "--hint_loss_weight needs --hint_injection answer: in the question, the hint is not the model's text"
            )
        if values["use_liger_kernel"]:
            raise UserError(
                "--hint_loss_weight does not work with --use_liger_kernel, which computes the loss without it"
            )
    if values["entropy_coef_min"] > values["entropy_coef_max"]:
        raise UserError("--entropy_coef_min is above --entropy_coef_max: swap or change them")


def _check_rollouts(values: Values) -> None:
    """vLLM: installed, and its mode, server and sleep mode fit together."""
    url, mode = values["vllm_server_base_url"], values["vllm_mode"]
    if not values["use_vllm"] and (url is not None or mode != "auto"):
        flag = f"--vllm_server_base_url {url}" if url is not None else f"--vllm_mode {mode}"
        raise UserError(f"{flag} needs --use_vllm true")
    if values["escalation"] == "speculative" and not values["use_vllm"]:
        raise UserError(
            "--escalation speculative needs --use_vllm true: transformers cannot stop single completions of a batch; "
            "use auto, lazy or eager"
        )
    if values["use_vllm"] and importlib.util.find_spec("vllm") is None:
        raise UserError("--use_vllm true needs vLLM: pip install -r requirements.txt, or use --use_vllm false")
    if url is None and (values["vllm_server_host"], values["vllm_server_port"]) != SERVER_DEFAULTS:
        raise UserError(
            "--vllm_server_host and --vllm_server_port are not used: name a server that you run by "
            "--vllm_server_base_url http://HOST:PORT"
        )
    if url is not None and not str(url).startswith(("http://", "https://")):
        raise UserError(f"--vllm_server_base_url {url}: give http://HOST:PORT")
    if values["vllm_enable_sleep_mode"] and mode == "server":
        raise UserError("--vllm_enable_sleep_mode true needs --vllm_mode colocate: a server has its own GPUs")
    if values["vllm_enable_sleep_mode"] and count_gpus() == 0:
        raise UserError("--vllm_enable_sleep_mode true needs a GPU")


def _check_optimizer(values: Values) -> None:
    """The optimizer's package, fused kernels, and whether the device supports the precision of the computation."""
    optimizer = str(values.get("optim", ""))
    for part, module, package in OPTIMIZER_PACKAGES:
        if part in optimizer:
            needs(f"--optim {optimizer}", module, package)
            break
    if ("galore" in optimizer or "apollo" in optimizer) and values["optim_target_modules"] is None:
        raise UserError(f"--optim {optimizer} needs --optim_target_modules, such as all-linear")
    if values["use_liger_kernel"]:
        needs("--use_liger_kernel true", "liger_kernel", "liger-kernel")
    if values["bf16"] and values["fp16"]:
        raise UserError("--bf16 and --fp16 exclude each other")
    on_cpu = values["use_cpu"] or count_gpus() == 0
    if values["bf16"] and on_cpu and not values["use_cpu"]:
        raise UserError("--bf16 needs a GPU: leave it out, or add --use_cpu true to train in bfloat16 on the CPU")
    for name in ("fp16", "tf32"):
        if values[name] and on_cpu:
            raise UserError(f"--{name} true needs a GPU")


def _check_launch(values: Values) -> None:
    """DeepSpeed and FSDP. Both need torchrun's environment variables: without them DeepSpeed falls back to MPI."""
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
        needs("--deepspeed", "deepspeed", "deepspeed")
    if (deepspeed or fsdp) and not under_torchrun():
        flag = "--deepspeed" if deepspeed else "--fsdp"
        raise UserError(
            f"{flag} needs torchrun, also for one process: torchrun --nproc_per_node=1 train_model.py {flag} ... "
            "(--nproc_per_node=N for N GPUs)"
        )


def _check_trackers(report_to: Any) -> None:
    """--report_to: every tracker is installed."""
    names = [report_to] if isinstance(report_to, str) else report_to or []
    if "none" in names and len(names) > 1:
        raise UserError(f"--report_to {' '.join(names)}: none cannot be combined with a tracker")
    for name in names:
        # tensorboardX serves as tensorboard too.
        if name == "tensorboard" and importlib.util.find_spec("tensorboardX") is not None:
            continue
        if name not in ("none", "all", "kubeflow"):
            module, package = TRACKERS.get(name, (name, name))
            needs(f"--report_to {name}", module, package)


# ----------------------------------------------------------------------------------------------------
# Part of check_model


def _check_attention(implementation: str | None, *, on_cpu: bool) -> None:
    """--attn_implementation is known and installed."""
    if implementation is None or implementation in ATTENTION:
        return
    if KERNEL.fullmatch(implementation):
        needs(f"--attn_implementation {implementation}", "kernels", "kernels")
        return
    flash = FLASH.get(implementation)
    if flash is None:
        known = (*ATTENTION, *FLASH)
        raise UserError(
            f"--attn_implementation {implementation} is not known: use one of {', '.join(known)}, or a kernel from the Hub "
            f"(kernels-community/flash-attn2){did_you_mean(implementation, known)}"
        )
    if on_cpu or count_gpus() == 0:
        raise UserError(f"--attn_implementation {implementation} needs a GPU: use --attn_implementation sdpa")
    if importlib.util.find_spec(flash) is None:
        raise UserError(
            f"--attn_implementation {implementation} needs flash-attn: pip install flash-attn --no-build-isolation (it is "
            "compiled for your torch), or use --attn_implementation sdpa, or a kernel from the Hub: --attn_implementation "
            "kernels-community/flash-attn2 (pip install kernels)"
        )
