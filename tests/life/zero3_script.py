"""Run by torchrun: trains with vLLM in each rank, hands the last weights over and compares. Each rank writes a report as JSON."""

import hint_grpo.machine.stack  # noqa: F401

import json
import sys
from pathlib import Path

import deepspeed
import torch
from vllm_weights import different_tensors

from hint_grpo.training import run
from hint_grpo.training.command_line import parse


def half_right(completions, **_):
    """Every group has an advantage, and the same in every run."""
    return [float(place % 2 == 0) for place in range(len(completions))]


def trained_weights(trainer) -> dict[str, torch.Tensor]:
    model = trainer.accelerator.unwrap_model(trainer.model)
    with deepspeed.zero.GatheredParameters(list(model.parameters())):  # does nothing without ZeRO-3
        return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def main(report: Path) -> None:
    script, training, model = parse(sys.argv[2:])
    processor = run.load_processor(model, training)
    dataset, _ = run.load_data(script, training, processor)
    trainer = run.make_trainer(script, training, model, dataset, processor)
    trainer.scorer.accuracy, trainer.scorer.rewards = half_right, [half_right]
    partitioned = [hasattr(parameter, "ds_id") for parameter in trainer.model.parameters()]
    trainer.train()
    partitioned += [hasattr(parameter, "ds_id") for parameter in trainer.model.parameters()]
    trainer.vllm_generation.sync_weights()
    in_vllm = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker.get_model()
    num_tensors, different = different_tensors(trained_weights(trainer), in_vllm)
    seen = {
        "num_tensors": num_tensors,
        "different": different,
        "zero3": any(partitioned),
        "dtype": str(trainer.model.dtype),
    }
    report.with_suffix(f".{training.process_index}.json").write_text(json.dumps(seen))
    run.finish(trainer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
