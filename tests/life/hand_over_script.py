"""Run by torchrun on two ranks: ZeRO-3 over a toy model, and what a hand-over gathers, counted by torch's profiler."""

import hint_grpo.machine.stack  # noqa: F401

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import deepspeed
import torch
from peft import LoraConfig, get_peft_model
from trl.generation.vllm_generation import VLLMGeneration

from hint_grpo.machine import extension_lock
from hint_grpo.rollout.weights import layers_of, layers_to_send, tensors
from hint_grpo.toy.models import warmed_up_model
from hint_grpo.training.command_line import LORA_TARGETS

CONFIG = {
    "train_micro_batch_size_per_gpu": 1,
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
    "zero_allow_untested_optimizer": True,
}
GATHERS = ("c10d::_allgather_base_", "c10d::allgather_", "c10d::allgather_into_tensor_coalesced_")


def seen(iterator: Callable[[], Iterable[tuple[str, torch.Tensor]]]) -> dict[str, Any]:
    """The all-gathers and bytes of a hand-over, and the sum of each tensor."""
    num_bytes, sums = 0, {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for name, tensor in iterator():
            assert name not in sums
            num_bytes += tensor.nbytes
            sums[name] = tensor.double().sum().item()
    gathers = sum(event.count for event in profile.key_averages() if event.key in GATHERS)
    return {"gathers": gathers, "bytes": num_bytes, "sums": sums}


class WithoutEngine(VLLMGeneration):
    def _init_vllm(self) -> None:
        pass


def trls_iterator(model: torch.nn.Module) -> Any:
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3), fsdp_plugin=None)
    return WithoutEngine(model, SimpleNamespace(state=state), None)._iter_named_params()


def report_of(kind: str) -> dict[str, Any]:
    torch.manual_seed(0)
    model = warmed_up_model("Qwen2.5-VL")
    num_parameters = len(list(model.parameters()))
    if kind == "frozen tower":
        model.model.visual.requires_grad_(False)
    if kind == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules=LORA_TARGETS))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    base = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    deepspeed.initialize(model=model, optimizer=torch.optim.SGD(trained, lr=0.0), config=CONFIG)
    layers = layers_to_send(model, with_frozen=False)
    found = {
        "num_parameters": num_parameters,
        "num_layers": len(layers_of(model)),
        "num_layers_sent": len(layers),
        "trl": seen(lambda: trls_iterator(model)),
        "everything": seen(lambda: tensors(layers_to_send(model, with_frozen=True))),
        "changed": seen(lambda: tensors(layers)),
        "partitioned_again": all(parameter.ds_status.name == "NOT_AVAILABLE" for parameter in model.parameters()),
    }
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        different = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, base[name])]
    return found | {"different": different}


def main(report: Path, kind: str) -> None:
    extension_lock.install()  # DeepSpeed builds its operators for gloo
    deepspeed.init_distributed("gloo", verbose=False)
    found = report_of(kind)
    report.with_suffix(f".{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
