"""A LoRA adapter merged into its model gives the adapted model's logits, and test_model.py's check takes the folder."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo.hub import ANY_WEIGHTS, check_model_files
from hint_grpo.machine.errors import UserError
from hint_grpo.training.merge import merge


@pytest.fixture(scope="module")
def adapter(world, tmp_path_factory):
    """An adapter whose B is not zero, saved beside the processor as a run leaves it."""
    path, folder = str(world.models["Qwen2.5-VL"]), tmp_path_factory.mktemp("adapter")
    model = get_peft_model(
        AutoModelForImageTextToText.from_pretrained(path), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(path).save_pretrained(folder)
    return folder


def test_the_merged_model_is_the_adapted_one(world, adapter, tmp_path):
    with pytest.raises(UserError, match=r"hint_grpo\.training\.merge"):
        check_model_files(adapter, "--model_path", weights=ANY_WEIGHTS)
    merge(adapter, tmp_path / "merged")
    check_model_files(tmp_path / "merged", "--model_path", weights=ANY_WEIGHTS)

    base = AutoModelForImageTextToText.from_pretrained(world.models["Qwen2.5-VL"])
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        before = base(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(base, adapter)(input_ids=ids).logits
        merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")(input_ids=ids).logits
    assert (adapted - before).abs().max() > 0.1
    assert torch.allclose(merged, adapted, atol=1e-3)
    AutoProcessor.from_pretrained(tmp_path / "merged")


def test_mistakes_are_one_line(world, adapter, tmp_path):
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        merge(world.models["Qwen2.5-VL"], tmp_path / "out")
    with pytest.raises(UserError, match="not empty"):
        merge(adapter, adapter)
