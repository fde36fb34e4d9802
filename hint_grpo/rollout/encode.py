"""Prompts to token ids: the one place that calls the processor for a rollout."""

from typing import Any

from hint_grpo.data.pictures import Pictures
from hint_grpo.families import PER_TOKEN, family_of
from hint_grpo.prompts import Message
from hint_grpo.rollout.types import EncodedPrompt


class PromptEncoder:
    """Encodes training messages with the model's own processor and chat template."""

    def __init__(self, processor: Any, picture_processing: str = "processor") -> None:
        self.processor = processor
        self.pictures = Pictures(processor, picture_processing)
        self.tokenizer = processor.tokenizer
        self.family = family_of(processor)

    def prompt(self, messages: list[Message], image: Any, sampler_image: Any = None) -> EncodedPrompt:
        """`image` is what the policy reads, `sampler_image` what vLLM does (None: the same)."""
        messages = self.family.messages(messages)
        text = self.family.text(messages)
        inputs = dict(self.processor(text=[text], images=[image], return_tensors="pt", add_special_tokens=False))
        ids = inputs["input_ids"][0].tolist()
        image_inputs = {name: tensor for name, tensor in inputs.items() if name not in PER_TOKEN}
        if sampler_image is None:
            sampler_image = image
        return EncodedPrompt(messages, ids, self.family.ids(text), image, image_inputs, sampler_image)

    def begun(self, text: str) -> list[int]:
        """The begun turn. The chat template ends the prompt with a line break, a token boundary, so apart is the same
        as together."""
        return self.family.ids(text)

    def decode(self, token_ids: list[int]) -> str:
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)
