"""Model families: everything that differs between vision-language models, in one place.

Training and calibrated decoding are written against `Family`. The class itself covers what transformers' image-text-to-text
models have in common: a picture becomes placeholder tokens in the prompt, whose embeddings are replaced by its features. It
supports Qwen2-VL, Qwen2.5-VL and Qwen3-VL unchanged. Other families are subclasses, chosen by the class of the processor:

    Mllama (Llama-3.2-Vision)   one placeholder per picture; the model reads the picture through cross-attention, with a
                                mask of the tiles that each token may attend to; not in the vLLM of this project

Light to import (no torch, no transformers): evaluation calls `vllm_supports` before it loads anything.

Shape letters: R rows (prompts of a batch), T tokens, M tiles of a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import Message

if TYPE_CHECKING:
    from torch import Tensor

# Tokens that must never be sampled: the next forward pass would raise "image features and image tokens do not match".
VISION_TOKENS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|image|>",
)
# Processor outputs with one value per token. They are recomputed from the ids after a begun turn is appended to the prompt.
PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids", "cross_attention_mask")
# model_type in config.json. vLLM supported Mllama up to 0.10.2.
WITHOUT_VLLM = frozenset({"mllama"})
LARGE_SIDE = 8192  # pixels; a square picture of this side reaches the limit of every image processor


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json as a dictionary; UserError if it is not JSON."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is not JSON ({error}): download the model again") from error
    return config if isinstance(config, dict) else {}


def vllm_supports(model_path: Path) -> bool:
    """Whether vLLM can load the model in this folder, by its config.json; UserError if that is not JSON."""
    return read_config(model_path).get("model_type") not in WITHOUT_VLLM


def vision_token_ids(config: Any, tokenizer: Any) -> list[int]:
    """The token ids that must never be sampled. Mllama's placeholder is not among the outputs of its head."""
    vocabulary = tokenizer.get_vocab()
    ids = {vocabulary[token] for token in VISION_TOKENS if token in vocabulary}
    ids |= {getattr(config, name, None) for name in ("image_token_id", "video_token_id")} - {None}
    return sorted(token for token in ids if token < config.get_text_config().vocab_size)


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """An encoded picture, on the CPU: `features` from the vision part, and the `inputs` that the language model needs
    besides them."""

    inputs: dict[str, Tensor]
    features: dict[str, list[Tensor]]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for parts in self.features.values() for tensor in parts)


class Family:
    """Models whose pictures are placeholder tokens in the prompt (Qwen2-VL, Qwen2.5-VL, Qwen3-VL)."""

    in_vllm = True
    """Whether vLLM supports these models."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.image_token_id: int = processor.image_token_id

    # --- messages and their text ---

    def messages(self, messages: list[Message]) -> list[Message]:
        """Training messages in the form that the model's chat template accepts."""
        return self._system_form(messages)

    def text(self, messages: list[Message]) -> str:
        """The prompt as text, by the chat template, up to the beginning of the assistant's turn."""
        return self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def text_without_picture(self, messages: list[Message]) -> str:
        """The same prompt without its image part, for the image-free branch of calibration."""
        return self.text([{**message, "content": _texts(message)} for message in messages])

    def ids(self, text: str) -> list[int]:
        """The token ids of a text. No special tokens are added: chat templates already write them."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @cached_property
    def _system_form(self) -> Any:
        """The first form of system message that the chat template renders correctly beside a picture.

        Templates of Llama-3.2-Vision refuse one there, or (later versions) print a list of parts as Python would. Raises
        UserError if no form works.
        """
        system, question = "SYSTEM", "QUESTION"
        probe = [_message("system", system), _message("user", question, picture=True)]
        for form in (_as_parts, _as_string, _within_the_question):
            try:
                text = self.text(form(probe))
            except _template_errors():
                continue
            if system in text and question in text and "'type'" not in text:
                return form
        raise UserError(
            f"the chat template of {type(self.processor).__name__} does not accept a picture with a question; use another model"
        )

    # --- pictures ---

    @property
    def picture_names(self) -> list[str]:
        """The names of the model inputs that the image processor returns."""
        return list(self.processor.image_processor.model_input_names)

    def num_image_tokens(self, width: int, height: int) -> int:
        """The placeholder tokens of a picture of this size in pixels, by the processor's own arithmetic."""
        return self.processor._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens[0]

    def expand(self, prompt_ids: list[int], num_image_tokens: int) -> list[int]:
        """The prompt ids with their single placeholder repeated, once per image token."""
        if not num_image_tokens:
            return prompt_ids
        at = prompt_ids.index(self.image_token_id)
        return [*prompt_ids[:at], *[self.image_token_id] * num_image_tokens, *prompt_ids[at + 1 :]]

    def image_inputs(self, image: Any) -> dict[str, Tensor]:
        """The image processor's output for one picture."""
        return dict(self.processor.image_processor(images=[image], return_tensors="pt"))

    def batch(self, image_inputs_R: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The picture inputs of R prompts, joined to those of one batch."""
        import torch

        return {name: torch.cat([inputs[name] for inputs in image_inputs_R]) for name in image_inputs_R[0]}

    def token_inputs(self, ids_RT: Tensor, image_inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The model's other inputs with one value per token, (R, T); `image_inputs` are those of the batch."""
        if "mm_token_type_ids" not in self.processor.model_input_names:
            return {}
        return {"mm_token_type_ids": (ids_RT == self.image_token_id).long()}

    # --- limits of a picture's size ---

    @property
    def pixel_limits(self) -> tuple[int, int] | None:
        """(smallest, largest) number of pixels if the image processor scales between two such limits, else None."""
        size = self.processor.image_processor.size
        smallest, largest = getattr(size, "shortest_edge", None), getattr(size, "longest_edge", None)
        return None if smallest is None or largest is None else (smallest, largest)

    @property
    def max_image_tokens(self) -> int:
        """The placeholder tokens of a picture at the processor's size limit."""
        return self.num_image_tokens(LARGE_SIDE, LARGE_SIDE)

    # --- pictures that are encoded once and used at several calibration scales ---

    def encode(self, model: Any, image_inputs: dict[str, Tensor]) -> EncodedPicture:
        """Runs the model's vision part on one picture; the result is moved to the CPU."""
        features = model.model.get_image_features(**image_inputs, return_dict=True)
        kept: dict[str, list[Tensor]] = {"pooler_output": list(features.pooler_output)}
        if getattr(features, "deepstack_features", None) is not None:  # Qwen3-VL: more features for the first layers
            kept["deepstack_features"] = list(features.deepstack_features)
        inputs = {name: tensor.cpu() for name, tensor in image_inputs.items() if name != "pixel_values"}
        return EncodedPicture(inputs, {name: [part.cpu() for part in parts] for name, parts in kept.items()})

    def first_inputs(self, ids_RT: Tensor, pictures: Sequence[EncodedPicture]) -> dict[str, Any]:
        """Inputs of the first forward pass besides ids (R, T) and attention mask; call the model inside `known_features`.

        The pictures belong to the first rows.
        """
        if not pictures:
            return self.token_inputs(ids_RT, {})
        images = {name: tensor.to(ids_RT.device) for name, tensor in self.batch([p.inputs for p in pictures]).items()}
        # Empty: only makes the model ask for picture features, which are known.
        pixel_values = ids_RT.new_zeros(0).float()
        return {"pixel_values": pixel_values, **images, **self.token_inputs(ids_RT, images)}

    @contextmanager
    def known_features(self, model: Any, pictures: Sequence[EncodedPicture]) -> Iterator[None]:
        """Inside this context, the model uses the features of `pictures` instead of encoding pixels."""
        import torch

        if not pictures:
            yield
            return
        every = [picture.features for picture in pictures]
        known = SimpleNamespace(pooler_output=tuple(_to(model, f) for p in every for f in p["pooler_output"]))
        if "deepstack_features" in every[0]:
            layers = zip(*(p["deepstack_features"] for p in every), strict=True)
            known.deepstack_features = [_to(model, torch.cat(layer)) for layer in layers]
        model.model.get_image_features = lambda *_, **__: known
        try:
            yield
        finally:
            del model.model.get_image_features  # restores the method of the class


class Mllama(Family):
    """Llama-3.2-Vision, which reads pictures through cross-attention."""

    in_vllm = False

    def text_without_picture(self, messages: list[Message]) -> str:
        # Without a picture the template would begin with another system turn and today's date. So the picture is rendered
        # and its placeholder, the first one, removed; a further one belongs to the question and stays.
        return self.text(messages).replace(self.processor.image_token, "", 1)

    def num_image_tokens(self, width: int, height: int) -> int:
        return 1

    def image_inputs(self, image: Any) -> dict[str, Tensor]:
        inputs = dict(self.processor.image_processor(images=[[image]], return_tensors="pt"))
        del inputs["num_tiles"]
        return inputs

    def token_inputs(self, ids_RT: Tensor, image_inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mask (R, T, 1 picture, M tiles): every token from the placeholder on attends to the tiles with content."""
        if not image_inputs:
            return {}
        tiles_R11M = image_inputs["aspect_ratio_mask"][:, None]
        behind_RT11 = ((ids_RT == self.image_token_id).cumsum(dim=1) > 0)[..., None, None]
        return {"cross_attention_mask": behind_RT11 * tiles_R11M}

    def encode(self, model: Any, image_inputs: dict[str, Tensor]) -> EncodedPicture:
        states = model.model.vision_model(**image_inputs).last_hidden_state
        states = model.model.multi_modal_projector(states).flatten(0, 2)  # tiles, patches, hidden size
        return EncodedPicture(
            {"aspect_ratio_mask": image_inputs["aspect_ratio_mask"].cpu()}, {"states": [states.cpu()]}
        )

    def first_inputs(self, ids_RT: Tensor, pictures: Sequence[EncodedPicture]) -> dict[str, Any]:
        """As in `Family`. Rows without a picture get zero states and an all-closed mask: a cross-attention layer then adds
        exactly 0, as if it were skipped, which is what the model does for a batch without pictures."""
        import torch

        if not pictures:
            return {}
        states = torch.cat([picture.features["states"][0] for picture in pictures])
        tiles = self.batch([picture.inputs for picture in pictures])["aspect_ratio_mask"]
        missing = len(ids_RT) - len(pictures)
        states = torch.cat([states, states.new_zeros(missing * tiles.shape[-1], *states.shape[1:])])
        tiles = torch.cat([tiles, tiles.new_zeros(missing, *tiles.shape[1:])])
        mask = self.token_inputs(ids_RT, {"aspect_ratio_mask": tiles.to(ids_RT.device)})
        return {"cross_attention_states": states.to(ids_RT.device), **mask}

    @contextmanager
    def known_features(self, model: Any, pictures: Sequence[EncodedPicture]) -> Iterator[None]:
        yield  # the features are already among `first_inputs`


FAMILIES: dict[str, type[Family]] = {"MllamaProcessor": Mllama}


def family_of(processor: Any) -> Family:
    """The family of a model, by the class of its processor."""
    return FAMILIES.get(type(processor).__name__, Family)(processor)


# ----------------------------------------------------------------------------------------------------
# Picture inputs that TRL does not pass to the model.


class WithRows:
    """A model that adds the matching rows of `inputs`, and the family's per-token inputs, to every call.

    It must be called with the rows of a batch in order, some at a time. TRL passes only the picture inputs that it knows by
    name; Mllama's aspect_ratio_ids, aspect_ratio_mask and cross_attention_mask are not among them, so that TRL alone cannot
    train it.
    """

    def __init__(self, model: Any, family: Family, inputs: Mapping[str, Tensor]) -> None:
        self.model, self.family, self.inputs = model, family, inputs
        self.at = 0  # rows already passed

    def __call__(self, *, input_ids: Tensor, **rest: Any) -> Any:
        start, self.at = self.at, self.at + len(input_ids)
        rows = {name: tensor[start : self.at].to(input_ids.device) for name, tensor in self.inputs.items()}
        return self.model(input_ids=input_ids, **(rest | rows | self.family.token_inputs(input_ids, rows)))


def rows_left_out(image_inputs_R: Sequence[Mapping[str, Tensor]], known: frozenset[str]) -> dict[str, Tensor]:
    """Picture inputs whose names are not in `known`, as rows of one batch; raises UserError if one is not one row each."""
    import torch

    names = [name for name in image_inputs_R[0] if name not in known]
    for name in names:
        if any(len(inputs[name]) != 1 for inputs in image_inputs_R):
            raise UserError(
                f"TRL does not pass {name} to the model, and it is not one row per picture; train another model"
            )
    return {name: torch.cat([inputs[name] for inputs in image_inputs_R]) for name in names}


# ----------------------------------------------------------------------------------------------------
# Forms of a system message that chat templates accept.


def _message(role: str, text: str, *, picture: bool = False) -> Message:
    return {"role": role, "content": [*[{"type": "image"}] * picture, {"type": "text", "text": text}]}


def _texts(message: Message) -> Any:
    """The content of a message without its image parts."""
    content = message["content"]
    return content if isinstance(content, str) else [part for part in content if part["type"] != "image"]


def _as_parts(messages: list[Message]) -> list[Message]:
    return messages


def _as_string(messages: list[Message]) -> list[Message]:
    if messages[0]["role"] != "system":
        return messages
    return [{"role": "system", "content": _joined(messages[0])}, *messages[1:]]


def _within_the_question(messages: list[Message]) -> list[Message]:
    """The system message becomes the first line of the question, after the picture."""
    if messages[0]["role"] != "system":
        return messages
    system, user, *rest = messages
    picture = [part for part in user["content"] if part["type"] == "image"]
    text = {"type": "text", "text": f"{_joined(system)}\n{_joined(user)}"}
    return [{**user, "content": [*picture, text]}, *rest]


def _joined(message: Message) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def _template_errors() -> tuple[type[Exception], ...]:
    from jinja2 import TemplateError

    return (TemplateError, TypeError)


def _to(model: Any, features: Tensor) -> Tensor:
    return features.to(device=model.device, dtype=model.dtype)
