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

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import hint_grpo.stack  # noqa: F401  # isort: skip

import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.formula import calibrated
from hint_grpo.calibration.questions import EncodedQuestion, QuestionEncoder, open_picture
from hint_grpo.calibration.rules import GreedyRules

PICTURE_CACHE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the language model takes it: (t, h, w) in patches, one embedding per image token (on the CPU)."""

    grid_thw: torch.Tensor
    embeds: torch.Tensor


class PictureCache:
    """Pictures by path, least recently used first out, so that further scales need not encode them again."""

    def __init__(self, model: Any, image_processor: Any, max_bytes: int = PICTURE_CACHE_BYTES) -> None:
        self._model, self._image_processor, self._max_bytes = model, image_processor, max_bytes
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._bytes = 0
        self.num_encoded = 0

    def get(self, request: DecodeRequest) -> Picture:
        assert request.image is not None
        if request.image in self._pictures:
            self._pictures.move_to_end(request.image)
            return self._pictures[request.image]
        picture = self._encode(request)
        self._pictures[request.image] = picture
        self._bytes += picture.embeds.nbytes
        while self._bytes > self._max_bytes and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].embeds.nbytes
        return picture

    def _encode(self, request: DecodeRequest) -> Picture:
        self.num_encoded += 1
        inputs = self._image_processor(images=[open_picture(request)], return_tensors="pt").to(self._model.device)
        grid_thw = inputs["image_grid_thw"]
        features = self._model.model.get_image_features(inputs["pixel_values"], grid_thw, return_dict=True)
        return Picture(grid_thw.cpu(), torch.cat(tuple(features.pooler_output)).cpu())


class HfDecoder:
    """A `Decoder` over a transformers model. `batch_size` counts questions: when calibrating, half the rows."""

    def __init__(
        self, model: Any, encoder: QuestionEncoder, rules: GreedyRules, *, batch_size: int, max_new_tokens: int
    ) -> None:
        assert encoder.tokenizer.padding_side == "left", "decoder-only generation needs left padding"
        self.model, self.encoder, self.rules = model, encoder, rules
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.pictures = PictureCache(model, encoder.processor.image_processor)
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

    def _first_rows(self, questions: list[EncodedQuestion]) -> "_Rows":
        pictures = [self.pictures.get(q.request) if q.num_image_tokens else None for q in questions]
        image_token_id = self.encoder.processor.image_token_id
        prompts = [expand(q.prompt_ids, image_token_id, q.num_image_tokens) for q in questions]
        texts = [q.text_ids for q in questions if q.text_ids is not None]
        return _Rows(self.model, prompts, texts, [p for p in pictures if p is not None], image_token_id, self.encoder)


class _Rows:
    """The rows of one batch and their cache: the questions' prompts, then (when paired) their image-free branches."""

    def __init__(
        self,
        model: Any,
        prompts: list[list[int]],
        texts: list[list[int]],
        pictures: list[Picture],
        image_token_id: int,
        encoder: QuestionEncoder,
    ) -> None:
        assert len(texts) in (0, len(prompts)), "a batch is paired as a whole"
        self.paired = bool(texts)
        padded = encoder.tokenizer.pad({"input_ids": prompts + texts}, padding_side="left", return_tensors="pt")
        ids_RT, mask_RT = padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
        assert bool(mask_RT[:, -1].all()), "decoder-only generation needs left padding"
        is_image_RT = ids_RT == image_token_id
        position_ids = _position_ids(model, ids_RT, mask_RT, is_image_RT, pictures)
        embeds_RTD = model.get_input_embeddings()(ids_RT)
        if pictures:
            embeds_RTD[is_image_RT] = torch.cat([picture.embeds for picture in pictures]).to(embeds_RTD)
        self.cache = DynamicCache(config=model.config)
        self.mask_RT = mask_RT
        self.next_position_R = position_ids.amax(dim=(0, 2)) + 1
        self.history_BT = _without_padding(ids_RT[: len(prompts)], mask_RT[: len(prompts)])
        self._next_inputs: dict[str, torch.Tensor] = {"inputs_embeds": embeds_RTD, "position_ids": position_ids}

    def forward(self, model: Any) -> torch.Tensor:
        """Raw float32 logits of every row's next token."""
        output = model(
            **self._next_inputs,
            attention_mask=self.mask_RT,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def advance(self, tokens_B: torch.Tensor, keep: list[int]) -> None:
        """Appends each question's token to both of its rows; only the questions at the positions `keep` go on."""
        if len(keep) < len(tokens_B):
            self._select(torch.tensor(keep, device=tokens_B.device), len(tokens_B))
            tokens_B = tokens_B[keep]
        tokens_R = torch.cat([tokens_B, tokens_B]) if self.paired else tokens_B
        self.history_BT = torch.cat([self.history_BT, tokens_B[:, None]], dim=1)
        self.mask_RT = torch.cat([self.mask_RT, torch.ones_like(self.mask_RT[:, :1])], dim=1)
        positions = self.next_position_R.view(1, -1, 1).expand(3, -1, 1)
        self._next_inputs = {"input_ids": tokens_R[:, None], "position_ids": positions}
        self.next_position_R = self.next_position_R + 1

    def _select(self, keep: torch.Tensor, num_questions: int) -> None:
        rows = torch.cat([keep, keep + num_questions]) if self.paired else keep
        self.cache.batch_select_indices(rows)
        self.history_BT = self.history_BT[keep]
        self.mask_RT = self.mask_RT[rows]
        self.next_position_R = self.next_position_R[rows]


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


def expand(prompt_ids: list[int], image_token_id: int, num_image_tokens: int) -> list[int]:
    """The prompt with its one placeholder repeated: one per image token."""
    if not num_image_tokens:
        return prompt_ids
    at = prompt_ids.index(image_token_id)
    return [*prompt_ids[:at], *[image_token_id] * num_image_tokens, *prompt_ids[at + 1 :]]


def _position_ids(
    model: Any, ids_RT: torch.Tensor, mask_RT: torch.Tensor, is_image_RT: torch.Tensor, pictures: list[Picture]
) -> torch.Tensor:
    """(3, R, T): the model's own positions; those of an image-free row count up from its first token."""
    if pictures:
        grids = torch.cat([picture.grid_thw for picture in pictures]).to(ids_RT.device)
        return model.model.get_rope_index(
            ids_RT, mm_token_type_ids=is_image_RT.int(), image_grid_thw=grids, attention_mask=mask_RT
        )[0]
    positions_RT = (mask_RT.cumsum(dim=-1) - 1).clamp(min=0)
    return positions_RT.expand(3, -1, -1)


def _without_padding(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """The ids with padding replaced by the row's own last prompt token: as a history of seen tokens it adds nothing."""
    return torch.where(mask_BT.bool(), ids_BT, ids_BT[:, -1:])
