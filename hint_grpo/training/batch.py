"""RolloutBatch: one batch of rollouts as a value, from sampling to the ledger; and the part of it that TRL gets.

Also in this module, because it is the other side of the same interface: what this project relies on inside TRL.
"""

import hint_grpo.machine.stack  # noqa: F401

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor
from trl import GRPOTrainer

from hint_grpo.families import rows_left_out
from hint_grpo.rollout.escalation import Group, Rollout
from hint_grpo.rollout.prompting import PreparedPrompt

# ----------------------------------------------------------------------------------------------------
# What this project relies on in TRL's GRPOTrainer beyond its public interface
#
# TRL calls its own private methods in the middle of a step, and HintGRPOTrainer overrides some of them. Their signatures and the
# tuple that `_generate` returns are written down here; tests/training/test_trl_interface.py compares them with the installed TRL,
# so that an upgrade fails there and not in the middle of a run.

TRL_VERSION = "1.16.0"

# Private methods that are overridden or called, with their parameters.
PRIVATE_METHODS = {
    "_get_train_sampler": ("self", "dataset"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_generate": ("self", "prompts"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_compute_loss": ("self", "model", "inputs"),
    "_save_checkpoint": ("self", "model", "trial"),
    "_load_optimizer_and_scheduler": ("self", "checkpoint"),
}

# The model inputs that TRL passes on by name; a family's other picture inputs reach the model through `WithRows`.
MODEL_INPUTS = frozenset(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)


class Generated(NamedTuple):
    """What TRL's `_generate` returns, in its order; lists of B * G rows."""

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    tool_mask: list[list[int]] | None
    completions: list[Any]
    logprobs: list[list[float]] | None
    extra_fields: dict[str, Any]
    images: Any
    tool_images: Any


def with_texts(generated: Sequence[Any], texts: Sequence[str]) -> Generated:
    """`_generate`'s result with other completions' texts: TRL decodes all completion tokens, and so the hint with them."""
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    return Generated(*generated)._replace(completions=messages)


@dataclass(frozen=True)
class RolloutBatch:
    """One rank's batch. Letters: B prompts, H levels, G completions, F reward functions.

    `prompts` (B) hold the rows used and their turns, `rollouts` (B) every group sampled for them and the one chosen. TRL gets
    the chosen groups only: B * G rows, the G completions of a prompt next to each other.
    """

    step: int
    prompts: Sequence[PreparedPrompt]
    rollouts: Sequence[Rollout]
    weights_step: int = 0
    """How many steps the weights that sampled had been trained for: step - 1, or one less with --rollouts_ahead."""
    redrawn_tokens: Sequence[int] = ()
    """(B): sampled for prompts that these replaced (--keep_sampling); () if none were."""
    num_redrawn: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        """(B): the data rows trained on."""
        return [prompt.row for prompt in self.prompts]

    @property
    def groups(self) -> list[Group]:
        """What is trained on, in the order of the prompts: one group of each, or the rounds of a mixed one."""
        return [group for rollout in self.rollouts for group in rollout.trained]

    @property
    def rejected(self) -> list[str]:
        """Why rows were replaced by the next usable ones, one line per row."""
        return [reason for prompt in self.prompts for reason in prompt.rejected]

    @property
    def texts(self) -> list[str]:
        """(B * G): what the model itself wrote, without the begun turn."""
        return [text for group in self.groups for text in group.texts]

    @property
    def rewards(self) -> list[list[float]]:
        """(B * G, F): given when the groups were sampled."""
        return [row_F for group in self.groups for row_F in group.rewards_GF]

    @cached_property
    def extra_inputs(self) -> dict[str, Tensor]:
        """Picture inputs that TRL does not pass on to the model (Llama-3.2-Vision's), B * G rows each; {} for most families."""
        inputs = [group.turn.prompt.image_inputs for group in self.groups for _ in group.texts]
        return rows_left_out(inputs, MODEL_INPUTS) if inputs else {}

    def trl_inputs(self) -> list[dict[str, Any]]:
        """(B * G): the rows in TRL's form, with picture and messages of the chosen level (they differ under query injection)."""
        return [
            {**prompt.row, "image": group.turn.prompt.image, "prompt": group.turn.prompt.messages}
            for prompt, rollout in zip(self.prompts, self.rollouts, strict=True)
            for group in rollout.trained
            for _ in group.texts
        ]

    def trl_completions(self, *, with_logps: bool) -> dict[str, Any]:
        """What TRL's `rollout_func` returns: lists of B * G rows.

        The completion starts with the begun turn, and `env_mask` 0 keeps it out of the loss, the KL term and the rewards.
        Without `with_logps`, `logprobs` is None: TRL then assumes that the policy was the sampler.
        """
        prompt_ids, completion_ids, logps, env_mask = [], [], [], []
        for group in self.groups:
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
