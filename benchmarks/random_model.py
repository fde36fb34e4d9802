"""A Qwen2.5-VL of any size with random weights and the toy world's tokenizer and processor, for measuring speed.

A model with random weights rarely writes the end token. A share of the vocabulary therefore counts as end tokens, so that
completions end at different lengths, as real ones do.
"""

from hint_grpo.machine.stack import HAS_CUDA

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from hint_grpo.toy.models import toy_processor

HEAD_DIM = 64
SHARPNESS = 3.0  # factor on the initial weights: logits far enough apart that rounding does not change the greedy token
ENDS = 4096  # end tokens are drawn from this many of the vocabulary


@dataclass(frozen=True, slots=True)
class Size:
    """The dimensions of a model: fields of transformers' text_config and vision_config."""

    text: dict[str, Any]
    vision: dict[str, Any]
    tied: bool = False  # the output head is the embedding


def small(hidden_size: int, num_layers: int) -> Size:
    """hidden_size: a multiple of HEAD_DIM."""
    heads = hidden_size // HEAD_DIM
    text = {
        "hidden_size": hidden_size,
        "intermediate_size": 3 * hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 4),
        "vocab_size": 4096,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]},
    }
    vision = {
        "depth": 4,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_heads": 4,
        "out_hidden_size": hidden_size,
        "fullatt_block_indexes": [3],
    }
    return Size(text, vision)


QWEN2_5_VL_3B = Size(
    text={
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 128000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
    },
    vision={
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    tied=True,
)
"""The dimensions of Qwen2.5-VL-3B-Instruct."""


def save_random_model(directory: Path, size: Size, *, end_share: float, seed: int = 0) -> int:
    """Writes the model with its processor to `directory`, in bfloat16 on a GPU; returns its number of parameters.

    end_share: share of ENDS tokens that end a completion.
    """
    processor = toy_processor("Qwen2.5-VL")
    device, dtype = ("cuda", torch.bfloat16) if HAS_CUDA else ("cpu", torch.float32)
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration._from_config(_config(processor, size), dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(SHARPNESS)
    model.generation_config = _generation_config(processor.tokenizer, end_share, seed)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def _config(processor: Any, size: Size) -> Qwen2_5_VLConfig:
    token_id = processor.tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={**size.text, "tie_word_embeddings": size.tied},
        vision_config=size.vision,
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=size.tied,
    )


def _generation_config(tokenizer: Any, end_share: float, seed: int) -> GenerationConfig:
    """Qwen2.5-VL's generation config with more end tokens."""
    ends = random.Random(seed).sample(range(ENDS), round(end_share * ENDS))
    return GenerationConfig(
        eos_token_id=sorted({tokenizer.eos_token_id, *ends}),
        pad_token_id=tokenizer.pad_token_id,
        repetition_penalty=1.05,
    )
