"""Who samples the rollouts, on which GPUs and in which order: decided once, before anything heavy is loaded (`--vllm_mode`,
`--escalation`)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.hardware import gpu_names, num_local_processes

Kind = Literal["transformers", "colocate", "own server", "given server"]
Schedule = Literal["lazy", "eager", "speculative"]
"""Which hint level is sampled when (escalation.py)."""
MODES = ("auto", "colocate", "server")
MIG_NOTE = "a slice of a GPU (MIG) is visible: training and vLLM are untested there, and NCCL cannot connect two slices of a GPU"


@dataclass(frozen=True, slots=True)
class Placement:
    """Who samples (`kind`), and where."""

    kind: Kind
    server_gpus: tuple[str, ...] = ()
    """GPUs of the run's own server, as CUDA_VISIBLE_DEVICES names them; empty on a CPU."""
    sleep: bool = False
    """Whether the engine releases its memory while the model is trained on the same GPU."""
    notes: tuple[str, ...] = ()
    """What the user should know before the first step, one line each."""


def placement_of(values: Mapping[str, Any], num_gpus: int) -> Placement:
    """`place` for a run's flags, with the process counts from the launcher's environment variables. `num_gpus`: of this node."""
    local, num_processes = num_local_processes(), int(os.environ.get("WORLD_SIZE", "1"))
    if local == 1 and "LOCAL_RANK" not in os.environ and num_gpus > 1:
        raise UserError(
            f"{num_gpus} GPUs are visible, and python starts one process: use torchrun --nproc_per_node=N train_model.py ..., "
            "or CUDA_VISIBLE_DEVICES=0 python train_model.py ..."
        )
    placement = place(
        use_vllm=values["use_vllm"],
        mode=values["vllm_mode"],
        base_url=values["vllm_server_base_url"],
        gpus=gpu_names(num_gpus),
        num_local_processes=local,
        num_nodes=num_processes // local,
        tensor_parallel_size=values["vllm_tensor_parallel_size"],
        sleep=values["vllm_enable_sleep_mode"],
    )
    if values["rollouts_ahead"]:
        check_ahead(values, placement.kind, num_processes=num_processes)
    return placement


def check_ahead(values: Mapping[str, Any], kind: Kind, *, num_processes: int) -> None:
    """What --rollouts_ahead 1 needs. Raises UserError."""
    if kind not in ("own server", "given server"):
        raise UserError(
            "--rollouts_ahead 1 needs a vLLM server, which samples while the trainer trains: use --vllm_mode server or "
            "--vllm_server_base_url"
        )
    if values["keep_sampling"]:
        raise UserError(
            f"--rollouts_ahead 1 does not work with --keep_sampling {values['keep_sampling']}, for which all processes have "
            "to agree while they sample"
        )
    accumulation, sampled = values["gradient_accumulation_steps"], values["generation_batch_size"]
    one_step = values["per_device_train_batch_size"] * values["num_generations"] * accumulation * num_processes
    sizes = (values["num_iterations"], values["steps_per_generation"] or accumulation, sampled or one_step)
    if sizes != (1, accumulation, one_step):
        raise UserError(
            "--rollouts_ahead 1 trains once on each sampled batch, in one step: leave out --num_iterations, "
            "--steps_per_generation and --generation_batch_size"
        )
    mode = values["vllm_importance_sampling_mode"]
    if not values["vllm_importance_sampling_correction"] or not mode.startswith("token"):
        raise UserError(
            "--rollouts_ahead 1 needs importance weights by token: --vllm_importance_sampling_correction true and "
            "--vllm_importance_sampling_mode token_truncate or token_mask"
        )


def place(
    *,
    use_vllm: bool,
    mode: str,
    base_url: str | None,
    gpus: tuple[str, ...],
    num_local_processes: int,
    num_nodes: int,
    tensor_parallel_size: int = 1,
    sleep: bool | None = None,
) -> Placement:
    """Decides who samples. Raises UserError for flags that contradict each other or the machine.

    If the node has more GPUs than training processes, it is the paper's layout: training on the first GPUs, a server on the rest.
    """
    if mode not in MODES:
        raise UserError(f"--vllm_mode {mode} is not known: use one of {', '.join(MODES)}")
    notes: tuple[str, ...] = (MIG_NOTE,) if any(name.startswith("MIG-") for name in gpus) else ()
    if not use_vllm:
        return Placement("transformers", notes=notes)
    if base_url is not None:
        if mode == "colocate":
            raise UserError("--vllm_server_base_url goes with --vllm_mode server, not with colocate")
        return Placement("given server", notes=notes)
    spare = gpus[num_local_processes:]
    if num_nodes > 1 and mode == "server":
        raise UserError(
            "--vllm_mode server on several nodes needs --vllm_server_base_url: start one server that all nodes reach "
            "(docs/running.md)"
        )
    if mode == "server" and gpus and not spare:
        raise UserError(
            f"--vllm_mode server: {num_local_processes} processes train on all {len(gpus)} GPUs; lower --nproc_per_node to "
            "leave one for the server, or use --vllm_mode colocate"
        )
    if mode == "server" or (mode == "auto" and spare and num_nodes == 1):
        if spare and len(spare) % tensor_parallel_size:
            raise UserError(
                f"--vllm_tensor_parallel_size {tensor_parallel_size} does not divide the server's {len(spare)} GPUs"
            )
        return Placement("own server", spare, notes=notes)
    if tensor_parallel_size != 1:
        raise UserError("--vllm_tensor_parallel_size is for a server; without one, every rank has its own engine")
    if mode == "auto" and spare:  # several nodes
        notes += (
            f"{len(spare)} GPU(s) of each node stay idle, since a run on several nodes starts no server: raise --nproc_per_node, "
            "or start a server that all nodes reach and give --vllm_server_base_url (docs/running.md)",
        )
    return Placement("colocate", sleep=bool(gpus) if sleep is None else sleep, notes=notes)


def schedule_of(escalation: str, kind: Kind, *, on_gpu: bool, num_levels: int) -> tuple[Schedule, str]:
    """What --escalation means for a run, and why.

    A GPU decodes some rows more in about the same time, so sampling all levels at once saves the time of a second and a third
    longest completion. On a CPU every token costs time.
    """
    if escalation != "auto":
        return cast(Schedule, escalation), "as set by --escalation"
    if num_levels == 1:
        return "lazy", "auto: the hint policy has one level"
    if kind == "transformers":
        return "lazy", "auto: transformers cannot stop single completions"
    if not on_gpu:
        return "lazy", "auto: on a CPU every token costs time"
    return "speculative", "auto: vLLM samples on a GPU, which has room for all levels at once"
