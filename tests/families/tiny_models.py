"""A tiny model per family: the real architecture and processor classes, a chat template in the family's own format.

Weights are random and sharpened, and Mllama's gates are open (they begin at 0, where the picture has no effect).
"""

import hint_grpo.machine.stack  # noqa: F401

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
    MllamaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from hint_grpo.toy import models as toy_tokenizer
from hint_grpo.toy.models import new_model, toy_processor

FAMILIES = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "Mllama")
VISION_PARAMETERS = {"Mllama": "model.vision_model"}  # elsewhere: model.visual
IMAGE_TOKEN = {"Mllama": "<|image|>"}  # elsewhere: <|image_pad|>
CONTEXT_LENGTH = 2048

# Qwen3-VL's has no default system message.
QWEN3_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' or 'image' in part %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif 'text' in part %}
{{- part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# As Llama-3.2-Vision's first one: no system message beside a picture, one of its own where there is no picture.
MLLAMA_TEMPLATE = """\
{{- '<|begin_of_text|>' }}
{%- if messages[0].role == 'system' %}
{%- set system_message = messages[0].content | trim %}
{%- set messages = messages[1:] %}
{%- else %}
{%- set system_message = '' %}
{%- endif %}
{%- set seen = namespace(picture=false) %}
{%- for message in messages %}
{%- for part in message.content %}
{%- if part.type == 'image' %}
{%- set seen.picture = true %}
{%- endif %}
{%- endfor %}
{%- endfor %}
{%- if seen.picture and system_message %}
{{- raise_exception('a picture goes with no system message') }}
{%- endif %}
{%- if not seen.picture %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday is ' + strftime_now('%d %b %Y') + '\\n\\n' }}
{{- system_message + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' %}
{{- '<|image|>' }}
{%- else %}
{{- part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# As its later one: a system message is written beside a picture, when it is a string.
MLLAMA_LATER_TEMPLATE = MLLAMA_TEMPLATE.replace(
    "{{- raise_exception('a picture goes with no system message') }}",
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system_message + '<|eot_id|>' }}",
)
LLAMA_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|finetune_right_pad_id|>",
    "<|image|>",  # the last: its id is the size of the output head, it has an embedding and no logit
)


def qwen3_tokenizer() -> Any:
    """Qwen3's has the tags of a thinking model as tokens that are not special."""
    tokenizer = toy_tokenizer.load_tokenizer()
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])
    tokenizer.chat_template = QWEN3_TEMPLATE
    return tokenizer


def llama_tokenizer() -> Any:
    """The toy's vocabulary with Llama's special tokens; like Llama's, it begins every text with <|begin_of_text|>."""
    vocabulary = json.loads(toy_tokenizer.VOCABULARY_FILE.read_text(encoding="utf-8"))
    backend = Tokenizer(models.BPE(vocab=vocabulary["vocab"], merges=[tuple(pair) for pair in vocabulary["merges"]]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in LLAMA_TOKENS])
    begin = LLAMA_TOKENS[0]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=begin,
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def tiny_processor(family: str, template: str | None = None) -> Any:
    if family == "Mllama":
        pictures = MllamaImageProcessor(size={"height": 56, "width": 56}, max_image_tiles=4)
        return MllamaProcessor(pictures, llama_tokenizer(), chat_template=template or MLLAMA_TEMPLATE)
    if family == "Qwen3-VL":
        pictures = Qwen2VLImageProcessor(patch_size=16, size={"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 64})
        return Qwen3VLProcessor(
            pictures, qwen3_tokenizer(), Qwen3VLVideoProcessor(), chat_template=template or QWEN3_TEMPLATE
        )
    return toy_processor(family)  # type: ignore[arg-type]


def qwen3_config(tokenizer: Any) -> Qwen3VLConfig:
    ids = tokenizer.convert_tokens_to_ids
    ends = {"bos_token_id": ids("<|endoftext|>"), "eos_token_id": ids("<|im_end|>")}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": CONTEXT_LENGTH,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "initializer_range": 0.08,
            **ends,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "out_hidden_size": 128,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.08,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        **ends,
    )


def mllama_config(tokenizer: Any) -> MllamaConfig:
    ids = tokenizer.convert_tokens_to_ids
    vocabulary_size = ids("<|image|>")
    return MllamaConfig(
        text_config={
            "vocab_size": vocabulary_size,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "cross_attention_layers": [1, 3],
            "max_position_embeddings": CONTEXT_LENGTH,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "initializer_range": 0.08,
            "bos_token_id": ids("<|begin_of_text|>"),
            "eos_token_id": ids("<|eot_id|>"),
            "pad_token_id": ids("<|finetune_right_pad_id|>"),
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 64 * 3,
            "initializer_range": 0.08,
        },
        image_token_index=vocabulary_size,
    )


def tiny_model(family: str) -> PreTrainedModel:
    if family in ("Qwen2-VL", "Qwen2.5-VL"):
        return new_model(family)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "Qwen3-VL":
            tokenizer = qwen3_tokenizer()
            model: PreTrainedModel = Qwen3VLForConditionalGeneration(qwen3_config(tokenizer))
        else:
            tokenizer = llama_tokenizer()
            model = MllamaForConditionalGeneration(mllama_config(tokenizer))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.numel() == 1:
                parameter.fill_(0.8)
    ends = ["<|eot_id|>", "<|end_of_text|>"] if family == "Mllama" else ["<|im_end|>", "<|endoftext|>"]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(ends),
        do_sample=True,
        temperature=0.6,
        top_p=0.9,
    )
    return model.float()


def save_tiny_model(root: Path, family: str, *, sharp: bool = False) -> Path:
    """Writes ROOT/<family>, as a download has it. `sharp`: far apart logits, so that decoding hardly repeats itself."""
    model = tiny_model(family)
    if sharp:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(2.0)
    directory = root / (f"{family}-sharp" if sharp else family)
    model.save_pretrained(directory)
    tiny_processor(family).save_pretrained(directory)
    return directory
