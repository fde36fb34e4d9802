"""Trainers whose prompts succeed at hint levels that are fixed in advance, and the schedule of the original code.

Half of a step's prompts succeed at level 0, a quarter at level 1, a quarter at level 2; that is, half of the prompts fail level 0
and half of those level 1. So every benchmark does the same work, whatever the model writes.
"""

import hint_grpo.machine.stack  # noqa: F401

from dataclasses import replace
from typing import Any

import torch
from trl.trainer.utils import pad

from hint_grpo.rollout.escalation import Group, Sampled, Turn
from hint_grpo.rollout.scorer import GroupScorer
from hint_grpo.training.trainer import HintGRPOTrainer

NEEDED_LEVELS = (0, 0, 1, 2)  # the lowest level at which a prompt succeeds, by its place in the step


class FixedProfileScorer(GroupScorer):
    """Counts a group's first completion as correct from the prompt's needed level on, and no other completion."""

    def __call__(
        self, row: dict[str, Any], turn: Turn, completions: list[Sampled], accuracy_G: list[float] | None = None
    ) -> Group:
        group = super().__call__(row, turn, completions, accuracy_G)
        accuracy_G = [_accuracy(turn, place) for place in range(len(completions))]
        return replace(group, accuracy_G=accuracy_G, rewards_GF=[[value] for value in accuracy_G])

    def accuracy_of(self, row: dict[str, Any], turn: Turn, place: int, completion: Sampled) -> float:
        super().accuracy_of(row, turn, place, completion)  # for its time
        return _accuracy(turn, place)


def _accuracy(turn: Turn, place: int) -> float:
    return float(place == 0 and turn.hint.level >= NEEDED_LEVELS[turn.index % len(NEEDED_LEVELS)])


class ProfiledTrainer(HintGRPOTrainer):
    """This project's trainer with the fixed level profile."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scorer = FixedProfileScorer(self.scorer.rewards, self.scorer.accuracy, self.scorer.decode)


class OriginalSchedule(ProfiledTrainer):
    """The original code's schedule: policy and reference model score the groups of all levels, and one group is used.

    Needs `escalation="eager"`, which samples all levels in one call. With `scores_all_levels = False` this is the project's own
    schedule.
    """

    scores_all_levels = True

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        # This project's schedule: only the chosen group of every prompt is scored.
        batch = super()._generate_and_score_completions(inputs)
        levels = sorted({level for rollout in self.batch.rollouts for level in rollout.groups})
        for level in levels if self.scores_all_levels else ():
            groups = [rollout.groups[level] for rollout in self.batch.rollouts if level in rollout.groups]
            # The completions of the groups that were not chosen, each with its prompt.
            rows = [
                (group.turn.prompt, group.turn.begun_ids + completion.token_ids)
                for group in groups
                if group is not self.batch.rollouts[group.turn.index].group
                for completion in group.completions
            ]
            if rows:
                self._score(rows)
        return batch

    def _score(self, rows: list[tuple[Any, list[int]]]) -> None:
        """Forward passes over (prompt, completion tokens) pairs by reference model and policy; the results are dropped."""
        # Prompts are padded on the left, completions on the right: (rows, T).
        pad_id = self._tokenizer.pad_token_id
        completion_ids = pad([torch.tensor(ids) for _, ids in rows], padding_value=pad_id)
        completion_mask = pad([torch.ones(len(ids), dtype=torch.long) for _, ids in rows], padding_value=0)
        prompts = [torch.tensor(prompt.ids) for prompt, _ in rows]
        prompt_ids = pad(prompts, padding_value=pad_id, padding_side="left")
        prompt_mask = pad([torch.ones_like(prompt) for prompt in prompts], padding_value=0, padding_side="left")
        ids = torch.cat([prompt_ids, completion_ids], 1)
        common = {
            "attention_mask": torch.cat([prompt_mask, completion_mask], 1),
            "mm_token_type_ids": (ids == self.model.config.image_token_id).long(),
            "num_images": [1] * len(rows),
            **{key: torch.cat([p.image_inputs[key] for p, _ in rows]) for key in rows[0][0].image_inputs},
        }
        common = {
            name: value.to(self.model.device) if torch.is_tensor(value) else value for name, value in common.items()
        }
        ids, keep = ids.to(self.model.device), completion_ids.size(1)
        with torch.no_grad():
            self._get_per_token_logps_and_entropies(self.ref_model, ids, logits_to_keep=keep, **common)
        # The original keeps the policy's graph of every level until it has chosen one.
        self._get_per_token_logps_and_entropies(self.model, ids, logits_to_keep=keep, **common)
