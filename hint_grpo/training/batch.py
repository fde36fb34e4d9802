"""RolloutBatch: everything known about one batch of rollouts, as a value that travels from sampling to the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from hint_grpo.families import rows_left_out
from hint_grpo.rollout.prompting import PreparedPrompt
from hint_grpo.rollout.types import Rollout
from hint_grpo.training.trl_interface import MODEL_INPUTS


@dataclass(frozen=True)
class RolloutBatch:
    """One rank's batch. Letters: B prompts, H levels, G completions, F reward functions.

    `prompts` (B) hold the rows used and their turns, `rollouts` (B) every group sampled for them and the one chosen. All that
    TRL is given is made of the chosen groups: B * G rows, the G completions of a prompt next to each other.
    """

    step: int
    prompts: Sequence[PreparedPrompt]
    rollouts: Sequence[Rollout]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """(B): the data rows trained on."""
        return [prompt.row for prompt in self.prompts]

    @property
    def rejected(self) -> list[str]:
        """Why rows were replaced by the next usable ones, one line per row."""
        return [reason for prompt in self.prompts for reason in prompt.rejected]

    @property
    def texts(self) -> list[str]:
        """(B * G): what the model itself wrote, without the begun turn."""
        return [text for rollout in self.rollouts for text in rollout.group.texts]

    @property
    def rewards(self) -> list[list[float]]:
        """(B * G, F): given when the groups were sampled."""
        return [row_F for rollout in self.rollouts for row_F in rollout.group.rewards_GF]

    @cached_property
    def extra_inputs(self) -> dict[str, Tensor]:
        """Picture inputs that TRL does not pass on to the model (Llama-3.2-Vision's), B * G rows each; {} for most families."""
        inputs = [rollout.group.turn.prompt.image_inputs for rollout in self.rollouts for _ in rollout.group.texts]
        return rows_left_out(inputs, MODEL_INPUTS) if inputs else {}

    def trl_inputs(self) -> list[dict[str, Any]]:
        """(B * G): the rows in TRL's form, with picture and messages of the chosen level (they differ under query injection)."""
        return [
            {**prompt.row, "image": turn.prompt.image, "prompt": turn.prompt.messages}
            for prompt, rollout in zip(self.prompts, self.rollouts, strict=True)
            for turn in [rollout.group.turn] * len(rollout.group.texts)
        ]

    def trl_completions(self, *, with_logps: bool) -> dict[str, Any]:
        """What TRL's `rollout_func` returns: lists of B * G rows.

        The begun turn stands first in the completion, and `env_mask` 0 keeps it out of the loss, the KL term and the rewards.
        Without `with_logps`, `logprobs` is None: TRL then takes the policy for the sampler.
        """
        prompt_ids, completion_ids, logps, env_mask = [], [], [], []
        for group in (rollout.group for rollout in self.rollouts):
            begun = group.turn.begun_ids
            for completion in group.completions:
                prompt_ids.append(group.turn.prompt.ids)
                completion_ids.append(begun + completion.token_ids)
                env_mask.append([0] * len(begun) + [1] * len(completion.token_ids))
                logps.append([None] * len(begun) + list(completion.logps or []))
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            "logprobs": logps if with_logps else None,
            "env_mask": env_mask,
        }
