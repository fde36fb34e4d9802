"""A trainer on the toy world with a reward computed by hand, and a reference of the loss written from the paper's formulas."""

from collections.abc import Callable
from typing import Any

import pytest


def reward_by_hint(threshold: int) -> Callable[..., list[float]]:
    """Half of a group is correct once the begun turn has `threshold` characters; nothing is correct before."""

    def accuracy(completions: list[str], begun: list[str], **_: Any) -> list[float]:
        return [float(len(text) >= threshold and place % 2 == 0) for place, text in enumerate(begun)]

    return accuracy


@pytest.fixture(scope="session")
def make_trainer(world, tmp_path_factory):
    """make_trainer(accuracy=..., dtype=..., **config) -> HintGRPOTrainer with a dataset of the toy world's records."""
    import torch
    from datasets import Dataset
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

    from hint_grpo.data.dataset import load_training_data
    from hint_grpo.training.config import HintGRPOConfig
    from hint_grpo.training.trainer import HintGRPOTrainer

    classes = {"Qwen2.5-VL": Qwen2_5_VLForConditionalGeneration, "Qwen2-VL": Qwen2VLForConditionalGeneration}

    def make(accuracy=None, dtype=torch.float32, family="Qwen2.5-VL", samples=None, peft_config=None, **config):
        path = str(world.models[family])
        processor = AutoProcessor.from_pretrained(path, padding_side="left")
        settings = {
            "output_dir": str(tmp_path_factory.mktemp("run")),
            "per_device_train_batch_size": 2,
            "num_generations": 4,
            "max_completion_length": 16,
            "max_prompt_length": 512,
            "max_steps": 2,
            "bf16": False,
            "use_cpu": not torch.cuda.is_available(),
            "save_strategy": "no",
            "gradient_checkpointing": False,
            "log_completions": False,
            "disable_tqdm": True,
        }
        if samples is None:
            samples, _ = load_training_data(world.train_data, tokenizer=processor.tokenizer)
        elif isinstance(samples, list):
            samples = Dataset.from_list(samples)
        accuracy = accuracy or reward_by_hint(0)
        return HintGRPOTrainer(
            model=classes[family].from_pretrained(path, dtype=dtype),
            reward_funcs=[accuracy],
            accuracy=accuracy,
            args=HintGRPOConfig(**(settings | config)),
            train_dataset=samples,
            processing_class=processor,
            peft_config=peft_config,
        )

    return make


@pytest.fixture(scope="module")
def server(world, tmp_path_factory):
    """A running vLLM server of the toy model, in float32."""
    from batches import SERVER_CONTEXT

    from hint_grpo.rollout.server_process import ServerProcess, ServerSettings

    settings = ServerSettings(
        model=str(world.models["Qwen2.5-VL"]),
        dtype="float32",
        context_length=SERVER_CONTEXT,
        max_num_seqs=128,
        gpu_memory_utilization=0.4,
    )
    server = ServerProcess(settings, tmp_path_factory.mktemp("server") / "log")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def samples(world):
    """Training rows of the toy world whose reasoning has 4 steps or more."""
    from hint_grpo.data.dataset import load_training_data

    dataset, _ = load_training_data(world.train_data)
    return [row for row in dataset if len(row["reasoning_steps"]) >= 4]
