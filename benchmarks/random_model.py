"""A Qwen2.5-VL of any size with random weights and the toy world's tokenizer and processor, for measuring speed.

A model with random weights rarely writes the end token. A share of the vocabulary therefore counts as end tokens, so that
completions end at different lengths, as real ones do.
"""

from hint_grpo.machine.stack import HAS_CUDA  # noqa: F401

import random
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from hint_grpo.toy.models import toy_processor

HEAD_DIM = 64
SHARPNESS = 3.0  # factor on the initial weights: logits far enough apart that rounding does not change the greedy token


def save_random_model(
    directory: Path, *, hidden_size: int, num_layers: int, vocab_size: int, end_share: float, seed: int = 0
) -> int:
    """Writes the model with its processor to `directory`; returns its number of parameters.

    hidden_size: a multiple of HEAD_DIM. end_share: share of the vocabulary that ends a completion.
    """
    processor = toy_processor("Qwen2.5-VL")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(_config(processor, hidden_size, num_layers, vocab_size))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(SHARPNESS)
    model.generation_config = _generation_config(processor.tokenizer, vocab_size, end_share, seed)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def _config(processor: Any, hidden_size: int, num_layers: int, vocab_size: int) -> Qwen2_5_VLConfig:
    heads = hidden_size // HEAD_DIM
    token_id = processor.tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": hidden_size,
            "intermediate_size": 3 * hidden_size,
            "num_hidden_layers": num_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 4),
            "vocab_size": vocab_size,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]},
            "tie_word_embeddings": False,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_heads": 4,
            "out_hidden_size": hidden_size,
            "fullatt_block_indexes": [3],
        },
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _generation_config(tokenizer: Any, vocab_size: int, end_share: float, seed: int) -> GenerationConfig:
    """Qwen2.5-VL's generation config with more end tokens."""
    ends = random.Random(seed).sample(range(vocab_size), round(end_share * vocab_size))
    return GenerationConfig(
        eos_token_id=sorted({tokenizer.eos_token_id, *ends}),
        pad_token_id=tokenizer.pad_token_id,
        repetition_penalty=1.05,
    )
