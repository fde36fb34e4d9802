"""The reference backend: calibration in transformers, one doubled left-padded batch per group of questions.

A batch of n questions has 2n rows: first the n prompts with their picture, then the n without (n rows at scale 0).
Each step runs the model once over all of them, combines the two halves of the raw logits
(hint_grpo.calibration.formula), and only then applies transformers' own logits processors, so that a repetition
penalty acts on the calibrated logits, with the history of the row that has the picture. Both halves continue with the
same token.

Differs from `generate`, which the paper's code uses:

- questions are batched by length, and a finished question's rows leave the batch: no row is decoded after its end;
- padding is no history (`generate` counts the padding token as seen, and it is one of Qwen's end tokens);
- a picture is encoded once, however many scales are decoded.
"""

import hint_grpo.stack  # noqa: F401

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor, SuppressTokensLogitsProcessor

from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.formula import calibrated
from hint_grpo.calibration.hf_pictures import PictureCache
from hint_grpo.calibration.hf_rows import Rows
from hint_grpo.calibration.questions import EncodedQuestion, QuestionEncoder
from hint_grpo.calibration.rules import GreedyRules


class HfDecoder:
    """A `Decoder` over a transformers model. `batch_size` counts questions: when calibrating, half the rows."""

    def __init__(
        self, model: Any, encoder: QuestionEncoder, rules: GreedyRules, *, batch_size: int, max_new_tokens: int
    ) -> None:
        assert encoder.tokenizer.padding_side == "left", "decoder-only generation needs left padding"
        self.model, self.encoder, self.rules = model, encoder, rules
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.pictures = PictureCache(model, encoder)
        self.processors: Any = logits_processors(rules, str(model.device))
        self.num_rows_decoded = 0  # rows of all forward passes together, prefill included: what was paid for

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        questions = [self.encoder.encode(request, scale)[0] for request in requests]
        for batch in batches_by_length(questions, self.batch_size):
            yield from self._decode_batch(batch, scale)

    def close(self) -> None:
        del self.model, self.pictures

    @torch.inference_mode()
    def _decode_batch(self, questions: list[EncodedQuestion], scale: float) -> Iterator[Completion]:
        rows = self._first_rows(questions)
        completions: list[list[int]] = [[] for _ in questions]
        alive = list(range(len(questions)))
        while alive:
            logits_BV = rows.forward(self.model)
            self.num_rows_decoded += len(logits_BV)
            lead_BV = logits_BV[: len(alive)]
            if rows.paired:
                lead_BV = calibrated(lead_BV, logits_BV[len(alive) :], scale)
            tokens_B = self.processors(rows.history_BT, lead_BV).argmax(dim=-1)
            keep: list[int] = []
            for position, (index, token) in enumerate(zip(alive, tokens_B.tolist(), strict=True)):
                completions[index].append(token)
                if token in self.rules.eos_ids or len(completions[index]) == self.max_new_tokens:
                    yield self._completion(questions[index], completions[index])
                else:
                    keep.append(position)
            alive = [alive[position] for position in keep]
            if alive:
                rows.advance(tokens_B, keep)

    def _completion(self, question: EncodedQuestion, token_ids: list[int]) -> Completion:
        text = self.encoder.completion_text(token_ids)
        return Completion(question.request.id, text, tuple(token_ids), self.rules.finish_reason(token_ids))

    def _first_rows(self, questions: list[EncodedQuestion]) -> Rows:
        pictures = [self.pictures.get(q.request) if q.num_image_tokens else None for q in questions]
        prompts = [self.encoder.family.expand(q.prompt_ids, q.num_image_tokens) for q in questions]
        texts = [q.text_ids for q in questions if q.text_ids is not None]
        return Rows(self.model, prompts, texts, [p for p in pictures if p is not None], self.encoder)


def batches_by_length(questions: Sequence[EncodedQuestion], batch_size: int) -> Iterator[list[EncodedQuestion]]:
    """Batches of similar prompt length, the longest first; questions with an image-free branch keep to themselves."""
    for paired in (True, False):
        group = [question for question in questions if (question.text_ids is not None) == paired]
        group.sort(key=lambda question: max(question.prompt_lengths), reverse=True)
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def logits_processors(rules: GreedyRules, device: str) -> LogitsProcessorList:
    """What acts on the calibrated logits, in order."""
    processors = LogitsProcessorList()
    if rules.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(rules.repetition_penalty))
    processors.append(SuppressTokensLogitsProcessor(rules.suppressed_ids, device=device))
    return processors
