"""The rows of one batch of the transformers path: left padding, cache, and which rows go on.

What a model takes beside ids and mask, and how that grows with every token, is `generate`'s own business: its hooks
(prepare_inputs_for_generation and their like) are called here as `generate` calls them, so that no family needs code here.

Letters: B questions, R rows (B, or 2 B when calibrating), T tokens.
"""

import hint_grpo.stack  # noqa: F401

from typing import Any

import torch
from transformers import DynamicCache

from hint_grpo.calibration.questions import QuestionEncoder
from hint_grpo.families import PER_TOKEN, Picture

# What goes on from step to step; the rest (pictures) belongs to the first forward pass alone.
LASTING = {*PER_TOKEN, "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


class Rows:
    """The rows of one batch and their cache: the questions' prompts, then (when paired) their image-free branches."""

    def __init__(
        self,
        model: Any,
        prompts: list[list[int]],
        texts: list[list[int]],
        pictures: list[Picture],
        encoder: QuestionEncoder,
    ) -> None:
        assert len(texts) in (0, len(prompts)), "a batch is paired as a whole"
        self.paired = bool(texts)
        padded = encoder.tokenizer.pad({"input_ids": prompts + texts}, padding_side="left", return_tensors="pt")
        self.ids_RT, mask_RT = padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
        assert bool(mask_RT[:, -1].all()), "decoder-only generation needs left padding"
        self.family, self.pictures, self.started = encoder.family, pictures, False
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
        """Raw float32 logits of every row's next token."""
        if self.started:
            output = model(**model.prepare_inputs_for_generation(self.ids_RT, next_sequence_length=1, **self.inputs))
        else:
            with self.family.known_features(model, self.pictures):
                inputs = model.prepare_inputs_for_generation(self.ids_RT, is_first_iteration=True, **self.inputs)
                output = model(**inputs)
            self.inputs = {name: value for name, value in self.inputs.items() if name in LASTING}
            self.started, self.pictures = True, []
        self.inputs = model._update_model_kwargs_for_generation(output, self.inputs, is_encoder_decoder=False)
        return output.logits[:, -1].float()

    def advance(self, tokens_B: torch.Tensor, keep: list[int]) -> None:
        """Appends each question's token to both of its rows; only the questions at the positions `keep` go on."""
        if len(keep) < len(tokens_B):
            self._select(torch.tensor(keep, device=tokens_B.device), len(tokens_B))
            tokens_B = tokens_B[keep]
        tokens_R = torch.cat([tokens_B, tokens_B]) if self.paired else tokens_B
        self.history_BT = torch.cat([self.history_BT, tokens_B[:, None]], dim=1)
        self.ids_RT = torch.cat([self.ids_RT, tokens_R[:, None]], dim=1)

    def _select(self, keep: torch.Tensor, num_questions: int) -> None:
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
    """The ids with padding replaced by the row's own last prompt token: as a history of seen tokens it adds nothing.

    So are ids that have no logit (Mllama's placeholder), which a repetition penalty would look up in vain.
    """
    is_history_BT = mask_BT.bool() & (ids_BT < config.get_text_config().vocab_size)
    return torch.where(is_history_BT, ids_BT, ids_BT[:, -1:])
