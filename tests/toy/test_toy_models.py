"""The models load as a download does, have Qwen's tokens and settings, and the shipped weights are small and fit."""

import hint_grpo.machine.stack  # noqa: F401

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo import prompts
from hint_grpo.toy import models
from hint_grpo.toy.models import SPECIAL_TOKENS, load_tokenizer
from hint_grpo.toy.world import World

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)


@FAMILIES
def test_loads_as_a_download_does(world: World, family: models.Family):
    directory = world.models[family]
    processor = AutoProcessor.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    assert (
        type(model).__name__ == {"Qwen2.5-VL": "Qwen2_5_VL", "Qwen2-VL": "Qwen2VL"}[family] + "ForConditionalGeneration"
    )
    assert type(processor).__name__ == {"Qwen2.5-VL": "Qwen2_5_VL", "Qwen2-VL": "Qwen2VL"}[family] + "Processor"
    shipped = models.warmed_up_model(family)
    for name, parameter in shipped.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name


@FAMILIES
def test_settings_are_the_instruct_models_own(world: World, family: models.Family):
    directory = world.models[family]
    generation = json.loads((directory / "generation_config.json").read_text())
    config = json.loads((directory / "config.json").read_text())
    tokenizer = load_tokenizer()
    end, padding = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert generation["eos_token_id"] == [end, padding]
    assert generation.get("repetition_penalty") == {"Qwen2.5-VL": 1.05, "Qwen2-VL": None}[family]
    text = config["text_config"]
    head_dim = text["hidden_size"] // text["num_attention_heads"]
    assert head_dim == 32  # vLLM's CPU attention refuses 16
    assert sum(text["rope_parameters"]["mrope_section"]) == head_dim // 2
    assert config["image_token_id"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize(("size", "tokens"), [((28, 112), 4), ((28, 168), 6), ((112, 84), 12)])
def test_a_picture_becomes_one_token_per_28_pixels_square(size: tuple[int, int], tokens: int):
    processor = models.toy_processor("Qwen2.5-VL")
    text = processor.apply_chat_template(prompts.training_messages("Q?"), add_generation_prompt=True, tokenize=False)
    assert text.count("<|image_pad|>") == 1
    ids = processor(text=[text], images=[Image.new("RGB", size)])["input_ids"][0]
    assert ids.count(processor.image_token_id) == tokens


def test_chat_template_renders_qwens_turns():
    tokenizer = load_tokenizer()
    with_system = tokenizer.apply_chat_template(prompts.training_messages("Q?"), tokenize=False)
    assert with_system == (
        f"<|im_start|>system\n{prompts.TRAINING_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Q?<|im_end|>\n"
    )
    plain = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n<|im_start|>assistant\n"
    )
    blind = tokenizer.apply_chat_template(prompts.evaluation_messages("Q?", with_image=False), tokenize=False)
    assert "<|image_pad|>" not in blind
    assert "<|vision_start|>" not in blind


@pytest.mark.parametrize(
    "text", ["<think>Disc 1 is red: 1.</think>", "答案是 ∠1 = 60°", "\x00\ufffd \t\r\n", "2√{3} π", "é"]
)
def test_any_text_survives_the_tokenizer(text: str):
    tokenizer = load_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens_are_one_token_each():
    tokenizer = load_tokenizer()
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in SPECIAL_TOKENS)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert 300 <= len(tokenizer) <= 600


@FAMILIES
def test_shipped_weights_are_small_and_fit(family: models.Family):
    file = models.weights_file(family)
    assert file.stat().st_size <= 8_000_000
    with safe_open(str(file), framework="pt") as stored:
        assert {str(stored.get_slice(name).get_dtype()) for name in stored.keys()} == {"BF16"}  # noqa: SIM118
    model = models.warmed_up_model(family)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    # Stored in 16 bits, computed in 32: rounding again changes nothing.
    assert all(torch.equal(p, p.to(torch.bfloat16).float()) for p in model.parameters())


def test_weights_of_another_model_are_refused():
    model = models.new_model("Qwen2-VL")
    with pytest.raises(ValueError, match="does not hold this model"):
        models.load_weights(model, models.weights_file("Qwen2.5-VL"))


def test_random_weights_follow_the_seed():
    def first(seed: int) -> torch.Tensor:
        return next(models.new_model("Qwen2-VL", seed).parameters())

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
