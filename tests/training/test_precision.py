"""--torch_dtype bfloat16 without DeepSpeed: weights are kept in float32, so that an update of 1e-6 is not lost to rounding."""

import pytest
import torch

from hint_grpo.training import run as run
from hint_grpo.training.command_line import parse
from hint_grpo.training.flag_values import needs_float32

NEITHER = {"deepspeed": None, "fsdp": None, "use_peft": False}


@pytest.mark.parametrize(
    ("dtype", "change", "expected"),
    [
        ("bfloat16", {}, True),
        ("float16", {}, True),
        ("float32", {}, False),
        ("bfloat16", {"deepspeed": "local_scripts/zero3.json"}, False),
        ("bfloat16", {"fsdp": "full_shard"}, False),
        ("bfloat16", {"use_peft": True}, False),
    ],
)
def test_who_keeps_the_float32_copy(dtype, change, expected) -> None:
    assert needs_float32(dtype, NEITHER | change) is expected


def test_accelerates_launcher_counts_too(monkeypatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert not needs_float32("bfloat16", NEITHER)


def train(world, folder, *more: str):
    """Four steps at 1e-6 as train_model.py makes them; (trainer, share of the weights that moved)."""
    words = f"""--model_name_or_path {world.models["Qwen2.5-VL"]} --data_path {world.train_data} --output_dir {folder}
        --per_device_train_batch_size 4 --max_completion_length 64 --max_prompt_length 512 --max_steps 4 --save_strategy no
        --learning_rate 1e-6 --lr_scheduler_type constant --gradient_checkpointing false --disable_tqdm true
        --torch_dtype bfloat16 --use_cpu true""".split()
    script, training, model = parse([*words, *more])
    processor = run.load_processor(model, training)
    dataset, report = run.load_data(script, training, processor)
    trainer = run.make_trainer(script, training, model, dataset, processor)
    run.describe(trainer, report)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    moved = [(tensor != before[name]).float().mean().item() for name, tensor in trainer.model.state_dict().items()]
    sizes = [tensor.numel() for tensor in before.values()]
    return trainer, sum(share * size for share, size in zip(moved, sizes, strict=True)) / sum(sizes)


def test_the_weights_move(world, tmp_path, capsys) -> None:
    trainer, share = train(world, tmp_path)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert trainer.accelerator.mixed_precision == "bf16"
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("precision:")]
    assert len(said) == 1
    assert "float32" in said[0]
    assert share > 0.9


@pytest.mark.slow
def test_vllm_samples_in_the_precision_of_the_flag(world, tmp_path) -> None:
    pytest.importorskip("vllm")
    trainer, share = train(world, tmp_path, "--use_vllm", "true", "--max_steps", "2")
    engine = trainer.vllm_generation.llm.llm_engine
    assert engine.model_config.dtype == torch.bfloat16
    served = engine.model_executor.driver_worker.model_runner.get_model()
    assert {parameter.dtype for parameter in served.parameters()} == {torch.bfloat16}
    assert share > 0.9
    gaps = [row["sampling/sampling_logp_difference/mean"] for row in trainer.state.log_history if "loss" in row]
    assert max(gaps) < 0.05  # both compute in bfloat16, from the same weights
