"""Calibrated decoding by two whole forward passes per token: one question at a time, no cache, no batch, no padding."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo.calibration.decoder import Completion, Decoder, DecodeRequest
from hint_grpo.data.images import open_image
from hint_grpo.prompts import EVALUATION_USER


def picture_text(family: str) -> str:
    """A picture's place in a prompt."""
    return "<|image|>" if family == "Mllama" else "<|vision_start|><|image_pad|><|vision_end|>"


def answers(decoder: Decoder, requests: Sequence[DecodeRequest], scale: float) -> dict[str, Completion]:
    """Each request's completion, by its id."""
    completions = list(decoder.decode(requests, scale))
    assert sorted(c.id for c in completions) == sorted(r.id for r in requests)
    return {c.id: c for c in completions}


class PlainReference:
    """The method as its definition says it: c + s * (c - t) on raw logits, then the repetition penalty, then the greatest."""

    def __init__(self, path: Path, family: str, *, new_tokens: int, penalty: float = 1.0) -> None:
        self.new_tokens, self.penalty = new_tokens, penalty
        self.model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(path)
        self.ends = self.model.generation_config.eos_token_id
        self.picture_text = picture_text(family)
        names = ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
        self.never = [] if family == "Mllama" else self.processor.tokenizer.convert_tokens_to_ids(names)

    def inputs(self, request: DecodeRequest, with_image: bool) -> dict[str, torch.Tensor]:
        text = {"type": "text", "text": EVALUATION_USER.replace("{Question}", request.question)}
        messages = [{"role": "user", "content": [{"type": "image"}, text]}]
        prompt = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        assert prompt.count(self.picture_text) == 1
        if not with_image:
            prompt = prompt.replace(self.picture_text, "")
        pictures = [open_image(request.image)] if with_image else None
        return dict(self.processor(text=[prompt], images=pictures, return_tensors="pt", add_special_tokens=False))

    def logits(self, inputs: dict[str, torch.Tensor], tokens: list[int]) -> torch.Tensor:
        given, new = dict(inputs), torch.tensor([tokens], dtype=torch.long)
        given["input_ids"] = torch.cat([inputs["input_ids"], new], dim=1)
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        if "mm_token_type_ids" in inputs:
            types = inputs["mm_token_type_ids"]
            given["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(new).to(types)], dim=1)
        if "cross_attention_mask" in inputs:
            mask = inputs["cross_attention_mask"]
            given["cross_attention_mask"] = torch.cat([mask, mask[:, -1:].expand(-1, len(tokens), -1, -1)], dim=1)
        self.model.model.rope_deltas = None  # Qwen keeps those of the last picture
        return self.model(**given, use_cache=False).logits[0, -1].float()

    @torch.no_grad()
    def decode(self, request: DecodeRequest, scale: float) -> tuple[int, ...]:
        with_image, text_only = self.inputs(request, True), self.inputs(request, False)
        tokens: list[int] = []
        while len(tokens) < self.new_tokens and (not tokens or tokens[-1] not in self.ends):
            c = self.logits(with_image, tokens)
            t = self.logits(text_only, tokens) if scale else c
            scores = c + scale * (c - t)
            history = {*with_image["input_ids"][0].tolist(), *tokens}
            for seen in history if self.penalty != 1.0 else ():
                scores[seen] = scores[seen] * self.penalty if scores[seen] < 0 else scores[seen] / self.penalty
            scores[self.never] = -torch.inf
            tokens.append(int(scores.argmax()))
        return tuple(tokens)
