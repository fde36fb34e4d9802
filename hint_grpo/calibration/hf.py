"""The reference backend: calibration in transformers, with one doubled left-padded batch for several questions.

A batch of n questions has 2n rows: first the n prompts with their picture, then the n without (n rows at scale 0).
Each step runs the model once over all of them, combines the two halves of the raw logits
(hint_grpo.calibration.formula), and only then applies transformers' own logits processors, so that a repetition
penalty acts on the calibrated logits, with the history of the row that has the picture. Both halves continue with the
same token.

Differences from `generate`, which the paper's code uses:

- questions are batched by length, and a finished question's rows leave the batch: no row is decoded after its end;
- padding does not count as history (`generate` counts the padding token as seen, and it is one of Qwen's end tokens);
- a picture is encoded once, however many scales are decoded.
"""

from hint_grpo.machine.stack import HAS_CUDA

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL.Image import Image
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from hint_grpo.calibration.ahead import Ahead
from hint_grpo.calibration.decoder import Completion, DecodeRequest
from hint_grpo.calibration.formula import calibrated
from hint_grpo.calibration.prompting import EncodedQuestion, GreedyRules, QuestionEncoder
from hint_grpo.families import PER_TOKEN, EncodedPicture

PICTURE_CACHE_BYTES = 2 << 30
ImageInputs = dict[str, torch.Tensor]  # the image processor's output for one picture
PreparedPicture = Image | ImageInputs | None  # opened, or processed too; None: known already

# ----------------------------------------------------------------------------------------------------
# The decoder


class HfDecoder:
    """A `Decoder` over a transformers model. `batch_size` counts questions; a calibrated batch has twice as many rows."""

    def __init__(
        self, model: Any, encoder: QuestionEncoder, rules: GreedyRules, *, batch_size: int, max_new_tokens: int
    ) -> None:
        assert encoder.tokenizer.padding_side == "left", "decoder-only generation needs left padding"
        self.model, self.encoder, self.rules = model, encoder, rules
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.pictures = PictureCache(model, encoder)
        self.processors: Any = logits_processors(rules, str(model.device))
        self.num_rows_decoded = 0  # rows of all forward passes together, prefill included: the cost

    def decode(self, requests: Sequence[DecodeRequest], scale: float) -> Iterator[Completion]:
        """See `Decoder`."""
        questions = [self.encoder.encode_prompts(request, scale) for request in requests]
        batches = list(batches_by_length(questions, self.batch_size))
        # While a batch is decoded, a thread prepares the pictures of the next one.
        in_order = [question for batch in batches for question in batch if question.num_image_tokens]
        with Ahead(in_order, self.pictures.prepare(), depth=self.batch_size) as prepared:
            for batch in batches:
                yield from self._decode_batch(batch, scale, prepared)

    def close(self) -> None:
        """Drops the model and the cached pictures."""
        del self.model, self.pictures

    @torch.inference_mode()
    def _decode_batch(
        self, questions: list[EncodedQuestion], scale: float, prepared: Iterator[PreparedPicture]
    ) -> Iterator[Completion]:
        rows = self._first_rows(questions, prepared)
        completions: list[list[int]] = [[] for _ in questions]  # token ids so far
        alive = list(range(len(questions)))  # indices of the unfinished questions, in the order of their rows
        while alive:
            # 1. One token for every unfinished question.
            logits_RV = rows.forward(self.model)
            self.num_rows_decoded += len(logits_RV)
            logits_BV = logits_RV[: len(alive)]
            if rows.paired:
                logits_BV = calibrated(logits_BV, logits_RV[len(alive) :], scale)
            tokens_B = self.processors(rows.history_BT, logits_BV).argmax(dim=-1)
            # 2. Questions that end here leave; the others continue with their token.
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

    def _first_rows(self, questions: list[EncodedQuestion], prepared: Iterator[PreparedPicture]) -> "Rows":
        pictures = [self.pictures.get(q.request, next(prepared)) if q.num_image_tokens else None for q in questions]
        prompts = [self.encoder.family.expand(q.prompt_ids, q.num_image_tokens) for q in questions]
        texts = [q.text_ids for q in questions if q.text_ids is not None]
        return Rows(self.model, prompts, texts, [p for p in pictures if p is not None], self.encoder)


def batches_by_length(questions: Sequence[EncodedQuestion], batch_size: int) -> Iterator[list[EncodedQuestion]]:
    """Batches of similar prompt length, the longest first; questions with and without a text-only branch are never mixed."""
    for paired in (True, False):
        alike = [question for question in questions if (question.text_ids is not None) == paired]
        alike.sort(key=lambda question: max(question.prompt_lengths), reverse=True)
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]


def logits_processors(rules: GreedyRules, device: str) -> LogitsProcessorList:
    """transformers' processors that act on the calibrated logits, in order: repetition penalty, suppressed tokens."""
    processors = LogitsProcessorList()
    if rules.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(rules.repetition_penalty))
    processors.append(SuppressTokensLogitsProcessor(rules.suppressed_ids, device=device))
    return processors


# ----------------------------------------------------------------------------------------------------
# The rows of one batch: left padding, key-value cache, and which rows continue
#
# Which inputs a model needs beside ids and mask, and how they grow with every token, depends on the family. The hooks of
# `generate` (prepare_inputs_for_generation and the like) know it and are called here as `generate` calls them, so that no
# family needs code here.
#
# Shape letters: B questions, R rows (B, or 2 B when calibrating), T tokens, V vocabulary.

# Inputs that are carried from step to step; the others (pictures) belong to the first forward pass only.
CARRIED_INPUTS = {*PER_TOKEN, "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


class Rows:
    """The rows of one batch and their cache: the questions' prompts, then (when paired) their image-free branches."""

    def __init__(
        self,
        model: Any,
        prompts: list[list[int]],
        texts: list[list[int]],
        pictures: list[EncodedPicture],
        encoder: QuestionEncoder,
    ) -> None:
        assert len(texts) in (0, len(prompts)), "a batch is paired as a whole"
        self.paired = bool(texts)
        # (R, T): the prompts with a picture, then the text-only ones, padded together.
        padded = encoder.tokenizer.pad({"input_ids": prompts + texts}, padding_side="left", return_tensors="pt")
        self.ids_RT, mask_RT = padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
        assert bool(mask_RT[:, -1].all()), "decoder-only generation needs left padding"
        self.family, self.pictures, self.started = encoder.family, pictures, False
        # (B, T): the tokens that a repetition penalty counts as seen.
        self.history_BT = _without_padding(self.ids_RT[: len(prompts)], mask_RT[: len(prompts)], model.config)
        self.inputs: dict[str, Any] = {
            "attention_mask": mask_RT,
            "past_key_values": DynamicCache(config=model.config),
            "use_cache": True,
            "logits_to_keep": 1,
            **self.family.first_inputs(self.ids_RT, pictures),
        }
        self.inputs["position_ids"] = model._prepare_position_ids_for_generation(self.ids_RT, self.inputs)

    def forward(self, model: Any) -> torch.Tensor:
        """One forward pass: (R, V) raw float32 logits of every row's next token."""
        if self.started:  # the last token of each row; everything before it is in the cache
            output = model(**model.prepare_inputs_for_generation(self.ids_RT, next_sequence_length=1, **self.inputs))
        else:  # prefill: whole prompts and the pictures' features
            with self.family.known_features(model, self.pictures):
                inputs = model.prepare_inputs_for_generation(self.ids_RT, is_first_iteration=True, **self.inputs)
                output = model(**inputs)
            self.inputs = {name: value for name, value in self.inputs.items() if name in CARRIED_INPUTS}
            self.started, self.pictures = True, []
        self.inputs = model._update_model_kwargs_for_generation(output, self.inputs, is_encoder_decoder=False)
        return output.logits[:, -1].float()

    def advance(self, tokens_B: torch.Tensor, keep: list[int]) -> None:
        """Appends each question's token, (B,), to both of its rows; only the questions at the positions `keep` continue."""
        if len(keep) < len(tokens_B):
            self._select(torch.tensor(keep, device=tokens_B.device), len(tokens_B))
            tokens_B = tokens_B[keep]
        tokens_R = torch.cat([tokens_B, tokens_B]) if self.paired else tokens_B
        self.history_BT = torch.cat([self.history_BT, tokens_B[:, None]], dim=1)
        self.ids_RT = torch.cat([self.ids_RT, tokens_R[:, None]], dim=1)

    def _select(self, keep: torch.Tensor, num_questions: int) -> None:
        """Drops the rows of finished questions from ids, history, inputs and cache."""
        rows = torch.cat([keep, keep + num_questions]) if self.paired else keep
        self.inputs["past_key_values"].batch_select_indices(rows)
        self.history_BT = self.history_BT[keep]
        self.ids_RT = self.ids_RT[rows]
        for name, value in self.inputs.items():
            if name == "position_ids":  # (.., R, T)
                self.inputs[name] = value[..., rows, :]
            elif isinstance(value, torch.Tensor):
                self.inputs[name] = value[rows]


def _without_padding(ids_BT: torch.Tensor, mask_BT: torch.Tensor, config: Any) -> torch.Tensor:
    """(B, T) ids in which padding is replaced by the row's last prompt token, which adds nothing to a history of seen tokens.

    Ids that have no logit (Mllama's placeholder) are replaced too: a repetition penalty would index out of range.
    """
    is_history_BT = mask_BT.bool() & (ids_BT < config.get_text_config().vocab_size)
    return torch.where(is_history_BT, ids_BT, ids_BT[:, -1:])


# ----------------------------------------------------------------------------------------------------
# Encoded pictures, kept for the next scale


class PictureCache:
    """Encoded pictures by path, in memory up to `max_bytes`; the least recently used leave first."""

    def __init__(self, model: Any, encoder: QuestionEncoder, max_bytes: int = PICTURE_CACHE_BYTES) -> None:
        self._model, self._encoder, self._max_bytes = model, encoder, max_bytes
        self._pictures: OrderedDict[str, EncodedPicture] = OrderedDict()
        self._bytes = 0
        # Whether the thread runs the image processor too. On a CPU it would compete with the model for the cores.
        self.processes_ahead = HAS_CUDA
        self.num_encoded = 0  # how often the model's vision part ran

    def prepare(self) -> Callable[[EncodedQuestion], PreparedPicture]:
        """A function for the thread that prepares questions; see PreparedPicture. A picture that comes again is not prepared."""
        seen: set[str | None] = set()

        def prepared(question: EncodedQuestion) -> PreparedPicture:
            request = question.request
            if request.image in self._pictures or request.image in seen:
                return None
            seen.add(request.image)
            image = self._encoder.picture(request)
            return self._encoder.family.image_inputs(image) if self.processes_ahead else image

        return prepared

    def get(self, request: DecodeRequest, prepared: PreparedPicture = None) -> EncodedPicture:
        """The request's picture as features, encoded if it is not in the cache."""
        assert request.image is not None
        if request.image in self._pictures:
            self._pictures.move_to_end(request.image)
            return self._pictures[request.image]
        picture = self._encode(self._encoder.picture(request) if prepared is None else prepared)
        self._pictures[request.image] = picture
        self._bytes += picture.nbytes
        while self._bytes > self._max_bytes and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture

    def _encode(self, prepared: Image | ImageInputs | None) -> EncodedPicture:
        self.num_encoded += 1
        family = self._encoder.family
        inputs = prepared if isinstance(prepared, dict) else family.image_inputs(prepared)
        return family.encode(self._model, {name: tensor.to(self._model.device) for name, tensor in inputs.items()})
