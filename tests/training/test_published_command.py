"""The published training command, every flag of it, on the toy world: two ranks, ZeRO-3 with offload, vLLM rollouts."""

import json
import os
import socket
import subprocess
import sys

import pytest

from hint_grpo.training import rollout_log

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def run(world, repository, tmp_path_factory):
    """The command as published, but for what a CPU needs: float32, sdpa, no --bf16, shorter and fewer steps."""
    out = tmp_path_factory.mktemp("published")
    command = f"""
        {sys.executable} -m torch.distributed.run
        --nproc_per_node=2 --nnodes 1 --node_rank 0 --master-addr localhost --master-port {free_port()}
        train_model.py --deepspeed local_scripts/zero3_offload.json
        --model_name_or_path {world.models["Qwen2.5-VL"]}/ --data_path {world.train_data}/
        --dataset_name LLaVA-CoT-100k --max_prompt_length 8192 --max_completion_length 64
        --per_device_train_batch_size 1 --gradient_accumulation_steps 1 --num_groups 2 --num_generations 4
        --logging_steps 1 --torch_dtype float32 --gradient_checkpointing true --attn_implementation sdpa
        --max_pixels 2359296 --save_total_limit 16 --num_train_epochs 2 --eval_strategy no
        --reward_funcs accuracy format --use_vllm true --vllm_gpu_memory_utilization 0.6 --save_steps 2
        --save_only_model true --output_dir {out} --max_steps 4 --learning_rate 1e-3
    """.split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out, done


def test_trains_and_leaves_what_it_promises(run, world):
    out, done = run
    assert "2 prompts, 4 completions each" in done.stdout
    for name in ("data_utilization.png", "data_utilization.csv", "processor_config.json", "model.safetensors"):
        assert (out / name).stat().st_size > 0
    records = [json.loads(line) for line in (out / "hint_ledger.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len({record["id"] for record in records}) == 8  # every rank its own prompts
    assert all(len(rewards) == 4 for record in records for rewards in record["rewards"].values())
    completions = list(rollout_log.read(out / "rollouts"))
    assert [row["step"] for row in completions if row["trained"]] == [step for step in (1, 2, 3, 4) for _ in range(8)]
    logged = [row for row in json.loads((out / "trainer_state.json").read_text())["log_history"] if "loss" in row]
    assert len(logged) == 4
    for name in (
        "reward",
        "kl",
        "hint/data_utilization",
        "hint/mean_level",
        "hint/share_level_1",
        "hint/reward_level_0",
    ):
        assert all(name in row for row in logged)
    # weights reached vLLM before every step; the gap that is left is the suppressed tokens' probability
    assert max(row["sampling/sampling_logp_difference/mean"] for row in logged) < 0.05


def test_checkpoint_loads_in_transformers_with_every_tensor_equal(run, world):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText, AutoProcessor

    out, _ = run
    start = load_file(world.models["Qwen2.5-VL"] / "model.safetensors")
    for folder in (out, out / "checkpoint-2", out / "checkpoint-4"):
        saved = load_file(folder / "model.safetensors")
        assert all(tensor.numel() for tensor in saved.values())
        state = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").state_dict()
        tied = {"lm_head.weight"} - saved.keys()
        assert state.keys() - tied == {name_in_memory(name) for name in saved}
        assert all(torch.equal(state[name_in_memory(name)], tensor) for name, tensor in saved.items())
        assert AutoProcessor.from_pretrained(folder).tokenizer.get_vocab()
    assert saved.keys() == start.keys()
    assert sum(not torch.equal(saved[name].float(), start[name].float()) for name in saved) > 0.5 * len(saved)


def name_in_memory(name: str) -> str:
    """Checkpoints keep the family's published names (visual.*, model.*); in memory both stand under `model`."""
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model.") and not name.startswith(("model.visual.", "model.language_model.")):
        return name.replace("model.", "model.language_model.", 1)
    return name


def test_checkpoint_loads_in_vllm_with_every_tensor_equal(run):
    pytest.importorskip("vllm")
    from hint_grpo.machine.stack import inspect_models_in_this_process

    from transformers import AutoModelForImageTextToText
    from vllm import LLM
    from vllm_weights import different_tensors

    inspect_models_in_this_process()
    out, _ = run
    engine = LLM(
        str(out),
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        max_num_seqs=2,
        limit_mm_per_prompt={"image": 1},
    )
    model = engine.llm_engine.model_executor.driver_worker.model_runner.get_model()
    state = AutoModelForImageTextToText.from_pretrained(out, dtype="float32").state_dict()
    num_tensors, different = different_tensors(state, model)
    assert num_tensors > 40
    assert not different
