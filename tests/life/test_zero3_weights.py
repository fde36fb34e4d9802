"""ZeRO-3 with offload on two ranks, for an untied head as the 7B models have: what is trained, saved and handed to vLLM."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from hint_grpo.machine.processes import free_port
from hint_grpo.toy.models import toy_processor, warmed_up_model

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow
NUM_STEPS = 3


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    """The toy model with an output head that is a matrix by itself, other than the embeddings."""
    model = warmed_up_model("Qwen2.5-VL")
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    embeddings = model.get_input_embeddings().weight.detach()
    noise = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0))
    model.lm_head.weight = torch.nn.Parameter(embeddings + 0.01 * noise)
    folder = tmp_path_factory.mktemp("untied")
    model.save_pretrained(folder)
    toy_processor("Qwen2.5-VL").save_pretrained(folder)
    assert "lm_head.weight" in load_file(folder / "model.safetensors")
    return folder


@pytest.fixture
def trained(repository, flags, untied, tmp_path):
    """trained(name, **flags) -> (saved weights, log rows, both ranks' reports)."""

    def trained(name, **more):
        out = tmp_path / name
        settings = {"model_name_or_path": untied, "use_vllm": "true", "max_steps": NUM_STEPS, **more}
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
            *("--master-addr", "localhost", "--master-port", str(free_port())),
            *("tests/life/zero3_script.py", str(tmp_path / name), *flags(out, **settings)),
        ]
        paths = os.pathsep.join([str(repository), str(repository / "tests")])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        rows = json.loads((out / "trainer_state.json").read_text())["log_history"]
        reports = [json.loads((tmp_path / f"{name}.{rank}.json").read_text()) for rank in (0, 1)]
        return load_file(out / "model.safetensors"), [row for row in rows if "loss" in row], reports

    return trained


def check_hand_over(reports, dtype):
    for report in reports:
        assert report["zero3"]
        assert report["dtype"] == dtype
        assert report["num_tensors"] > 40
        assert report["different"] == []


def test_offload_trains_what_plain_training_does_and_hands_it_over(trained, untied):
    plain, plain_rows, _ = trained("plain")
    offload, rows, reports = trained("offload", deepspeed="local_scripts/zero3_offload.json")
    check_hand_over(reports, "torch.float32")
    assert len(rows) == len(plain_rows) == NUM_STEPS
    for row, plain_row in zip(rows, plain_rows, strict=True):
        assert row["loss"] == pytest.approx(plain_row["loss"], abs=1e-6)
        assert row["grad_norm"] == pytest.approx(plain_row["grad_norm"], rel=1e-4)
    start = load_file(untied / "model.safetensors")
    assert offload.keys() == plain.keys() == start.keys()
    for name, tensor in plain.items():
        moved, apart = (tensor - start[name]).abs(), (tensor - offload[name]).abs()
        assert moved.mean() > 1e-4, name
        assert apart.max() < 1e-4, (
            name
        )  # a tenth of one step; where a gradient is nearly 0, rounding decides a part of it
        assert apart.mean() < 1e-3 * moved.mean(), name
    assert not torch.equal(offload["lm_head.weight"], offload["model.embed_tokens.weight"])


def test_bf16_with_offload_moves_the_weights_and_hands_them_over(trained, untied, tmp_path):
    saved, rows, reports = trained(
        "bf16", deepspeed="local_scripts/zero3_offload.json", bf16="true", torch_dtype="bfloat16"
    )
    check_hand_over(reports, "torch.bfloat16")
    assert len(rows) == NUM_STEPS
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
    start = load_file(untied / "model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 for tensor in saved.values())
    moved = [not torch.equal(tensor, start[name].bfloat16()) for name, tensor in saved.items()]
    assert sum(moved) > 0.9 * len(moved)  # two norms, all close to 1, need larger steps in bf16
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "bf16", dtype="bfloat16")
    assert torch.equal(model.lm_head.weight, saved["lm_head.weight"])
