"""The rows of one batch of the transformers path: left padding, positions, cache, and which rows go on.

Letters: B questions, R rows (B, or 2 B when calibrating), T tokens, D hidden size.
"""

import hint_grpo.stack  # noqa: F401

from typing import Any

import torch
from transformers import DynamicCache

from hint_grpo.calibration.hf_pictures import Picture
from hint_grpo.calibration.questions import QuestionEncoder


class Rows:
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
