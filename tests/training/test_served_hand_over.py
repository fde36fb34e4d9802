"""A real vLLM server gets the weights that are trained, keeps those that are not, and samples as the policy would."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
import torch
from batches import batch_for, correct_from, logp_gap
from peft import LoraConfig
from safetensors import safe_open

from hint_grpo.rollout.access import TOKEN_VARIABLE
from hint_grpo.training.command_line import LORA_TARGETS

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


def sent_bytes(trainer, monkeypatch):
    """A list of the bytes of every file of weights that the server is asked to load from now on."""
    sizes, call = [], trainer.vllm_generation._call

    def look(method, path, **request):
        if path == "/collective_rpc":
            with safe_open(trainer.vllm_generation.weights_folder / "model.safetensors", "pt") as file:
                sizes.append(sum(file.get_tensor(name).nbytes for name in file.keys()))  # noqa: SIM118
        return call(method, path, **request)

    monkeypatch.setattr(trainer.vllm_generation, "_call", look)
    return sizes


@pytest.mark.parametrize(("kind", "later"), [("frozen tower", 3_711_488), ("adapter", 1_576_960)])
def test_only_what_is_trained_is_sent_again(make_trainer, samples, server, monkeypatch, kind, later):
    monkeypatch.setenv(TOKEN_VARIABLE, server.token)
    trainer = make_trainer(
        accuracy=correct_from(20),
        samples=samples,
        use_vllm=True,
        vllm_server_base_url=server.url,
        max_completion_length=32,
        peft_config=LoraConfig(r=4, target_modules=LORA_TARGETS) if kind == "adapter" else None,
    )
    if kind == "frozen tower":
        trainer.model.model.visual.requires_grad_(False)
    sizes = sent_bytes(trainer, monkeypatch)
    generator = torch.Generator().manual_seed(1)
    for step in range(3):
        trainer.state.global_step = step
        batch_for(trainer, samples[step : step + 2])
        assert logp_gap(trainer) < 1e-3
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    assert sizes == [5_033_472, later, later]
    log = server.log.read_text()
    assert "Failed to load weights" not in log  # vLLM's line for each layer that keeps its weights
    assert "were not loaded from checkpoint" not in log
