"""Toy models with the real architectures: Qwen2.5-VL and Qwen2-VL in 1.3 million parameters.

Classes, processor, special tokens, chat template and generation config are those of the real models, so that transformers,
vLLM, TRL and DeepSpeed treat both alike. Two limits set the sizes: vLLM's CPU attention does not support a head_dim of 16
(32 works), and mrope_section must add up to head_dim / 2.

The tokenizer is Qwen's class over a small byte-level BPE vocabulary, learned once from the toy's own text. It is shipped
(`weights/vocabulary.json`) because the shipped weights depend on it; `python -m hint_grpo.toy.warmup --vocabulary` learns it
again.
"""

import hint_grpo.machine.stack  # noqa: F401

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

Family = Literal["Qwen2.5-VL", "Qwen2-VL"]
FAMILIES: tuple[Family, ...] = ("Qwen2.5-VL", "Qwen2-VL")
WEIGHTS = Path(__file__).parent / "weights"
VOCABULARY_FILE = WEIGHTS / "vocabulary.json"
CONTEXT_LENGTH = 2048

# ----------------------------------------------------------------------------------------------------
# Tokenizer

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
# In the order of Qwen's own ids, which start at 151643.
SPECIAL_TOKENS = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    VISION_START,
    VISION_END,
    "<|vision_pad|>",
    IMAGE_PAD,
    VIDEO_PAD,
)
# Renders the same text as Qwen's template: a default system turn, one placeholder per picture, an open assistant turn.
CHAT_TEMPLATE = """\
{%- for message in messages %}
{%- if loop.first and message.role != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' or 'video' in part %}
{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
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


def learn_vocabulary(texts: Iterable[str], size: int) -> dict[str, Any]:
    """Learns a byte-level BPE vocabulary of `size` tokens, with Qwen's pre-tokenisation (digits one by one).

    It contains all 256 bytes, so any text can be encoded. Returns {"vocab": ids by token, "merges": pairs}.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    learned = json.loads(tokenizer.to_str())["model"]
    return {"vocab": learned["vocab"], "merges": learned["merges"]}


def load_tokenizer(file: Path = VOCABULARY_FILE) -> Any:
    """The toy's tokenizer, with Qwen's end and padding tokens; pads on the left, as batched generation needs."""
    vocabulary = json.loads(file.read_text(encoding="utf-8"))
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary["vocab"],
        merges=[tuple(merge) for merge in vocabulary["merges"]],  # type: ignore[misc]  # Qwen2Tokenizer's own loader passes pairs
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=list(SPECIAL_TOKENS),
        padding_side="left",
        model_max_length=32768,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


# ----------------------------------------------------------------------------------------------------
# Models

# About 1 / sqrt(hidden size). With Qwen's 0.02 a model of this width is slow to attend to images.
INITIALIZER_RANGE = 0.08

_TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT_LENGTH,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
    "tie_word_embeddings": True,
    "initializer_range": INITIALIZER_RANGE,
}
_VISION: dict[Family, dict[str, Any]] = {
    "Qwen2.5-VL": {
        "depth": 2,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": 128,
        "fullatt_block_indexes": [1],
        "initializer_range": INITIALIZER_RANGE,
    },
    "Qwen2-VL": {
        "depth": 2,
        "embed_dim": 128,
        "hidden_size": 128,
        "mlp_ratio": 2,
        "num_heads": 4,
        "initializer_range": INITIALIZER_RANGE,
    },
}
# The instruct models' generation configs; `_generation_config` adds their two end tokens.
_GENERATION: dict[Family, dict[str, float]] = {
    "Qwen2.5-VL": {"repetition_penalty": 1.05, "temperature": 1e-6},
    "Qwen2-VL": {"temperature": 0.01, "top_p": 0.001, "top_k": 1},
}


def model_directory(root: Path, family: Family) -> Path:
    """Where `save_model` writes a family's model."""
    return root / f"{family}-toy"


def toy_config(family: Family, tokenizer: Any) -> Qwen2_5_VLConfig | Qwen2VLConfig:
    """The family's config with toy sizes and the toy tokenizer's ids."""
    ids: dict[str, Any] = {
        "image_token_id": IMAGE_PAD,
        "video_token_id": VIDEO_PAD,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": TURN_END,
    }
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in ids.items()}
    shared = {name: ids[name] for name in ("bos_token_id", "eos_token_id")}
    config_class = Qwen2_5_VLConfig if family == "Qwen2.5-VL" else Qwen2VLConfig
    return config_class(
        text_config={**_TEXT, **shared, "vocab_size": len(tokenizer)},
        vision_config=_VISION[family],
        tie_word_embeddings=True,
        **ids,
    )


def toy_processor(family: Family) -> Qwen2_5_VLProcessor | Qwen2VLProcessor:
    """Qwen's processor with its defaults: one image token per 28 x 28 pixels, at least 56 x 56 pixels per picture."""
    processor_class = Qwen2_5_VLProcessor if family == "Qwen2.5-VL" else Qwen2VLProcessor
    tokenizer = load_tokenizer()
    video_processor = Qwen2VLVideoProcessor(cap_pixels_per_frame=True)  # if unset, every load prints a warning
    return processor_class(Qwen2VLImageProcessor(), tokenizer, video_processor, chat_template=CHAT_TEMPLATE)


def new_model(family: Family, seed: int = 0) -> PreTrainedModel:
    """A model with random float32 weights from `seed`; torch's global random state is unchanged."""
    tokenizer = load_tokenizer()
    model_class = Qwen2_5_VLForConditionalGeneration if family == "Qwen2.5-VL" else Qwen2VLForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(toy_config(family, tokenizer))
    model.generation_config = _generation_config(family, tokenizer)
    return model.float()


def _generation_config(family: Family, tokenizer: Any) -> GenerationConfig:
    end, padding = (tokenizer.convert_tokens_to_ids(t) for t in (TURN_END, END_OF_TEXT))
    return GenerationConfig(
        bos_token_id=padding, pad_token_id=padding, eos_token_id=[end, padding], do_sample=True, **_GENERATION[family]
    )


def weights_file(family: Family) -> Path:
    """The family's shipped weights."""
    return WEIGHTS / f"{family}-toy.safetensors"


def save_weights(model: PreTrainedModel, file: Path) -> None:
    """Saves the parameters in bfloat16, without the tied output matrix."""
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.named_parameters()}
    save_file(tensors, str(file))


def load_weights(model: PreTrainedModel, file: Path) -> None:
    """Copies weights from `save_weights` into `model`.

    Shipped weights that no longer fit the code must not be skipped silently: raises ValueError for other parameter names,
    RuntimeError for shapes that cannot be copied.
    """
    tensors = load_file(str(file))
    parameters = dict(model.named_parameters())
    if parameters.keys() != tensors.keys():
        differing = sorted(parameters.keys() ^ tensors.keys())[:4]
        raise ValueError(f"{file} does not hold this model: parameters on one side only: {differing} ..")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def warmed_up_model(family: Family) -> PreTrainedModel:
    """The model with the shipped weights, in float32."""
    model = new_model(family)
    load_weights(model, weights_file(family))
    return model


def save_model(root: Path, family: Family, *, warm: bool = True, seed: int = 0) -> Path:
    """Writes ROOT/<family>-toy with everything that a download contains; returns that folder.

    warm: the shipped weights; False gives random ones from `seed`.
    """
    if warm and not weights_file(family).exists():
        raise FileNotFoundError(f"{weights_file(family)}: the shipped weights are missing")
    directory = model_directory(root, family)
    write_folder(warmed_up_model(family) if warm else new_model(family, seed), family, directory)
    return directory


def write_folder(model: PreTrainedModel, family: Family, directory: Path) -> None:
    """Writes a model with everything that a download contains. The folder appears when it is complete."""
    unfinished = directory.with_name(directory.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    toy_processor(family).save_pretrained(unfinished)
    shutil.rmtree(directory, ignore_errors=True)
    unfinished.rename(directory)
