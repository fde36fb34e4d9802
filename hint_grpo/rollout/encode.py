"""Prompts to token ids: the one place that calls the processor for a rollout."""

from collections.abc import Iterable
from typing import Any

from hint_grpo.prompts import Message
from hint_grpo.rollout.types import EncodedPrompt

# A sampled vision token crashes the next forward pass ("image features and image tokens do not match").
VISION_TOKENS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|image|>",
)


def vision_token_ids(tokenizer: Any, also: Iterable[int | None] = ()) -> list[int]:
    """The ids that must never be sampled: those of VISION_TOKENS in this vocabulary, and `also` (from the config)."""
    vocabulary = tokenizer.get_vocab()
    ids = {vocabulary[token] for token in VISION_TOKENS if token in vocabulary}
    return sorted(ids | {token for token in also if token is not None})


class PromptEncoder:
    """Encodes training messages with the model's own processor and chat template."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer

    def prompt(self, messages: list[Message], image: Any) -> EncodedPrompt:
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = dict(self.processor(text=[text], images=[image], return_tensors="pt"))
        ids = inputs.pop("input_ids")[0].tolist()
        for per_token in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
            inputs.pop(per_token, None)  # made anew from the ids, once the begun turn stands behind them
        short_ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return EncodedPrompt(messages, ids, short_ids, image, inputs)

    def begun(self, text: str) -> list[int]:
        """The begun turn. The chat template ends the prompt with a line break, a token boundary, so apart is the same
        as together."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, token_ids: list[int]) -> str:
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)
