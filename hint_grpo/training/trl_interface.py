"""What this project relies on in TRL's GRPOTrainer beyond its public interface, in one place.

TRL calls its own private methods in the middle of a step, and HintGRPOTrainer overrides some of them. Their signatures and the
tuple that `_generate` returns are written down here; tests/training/test_trl_interface.py compares them with the installed TRL,
so that an upgrade fails there and not in the middle of a run.
"""

import hint_grpo.machine.stack  # noqa: F401

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from trl import GRPOTrainer

TRL_VERSION = "1.16.0"

# Private methods that are overridden or called, with their parameters.
PRIVATE_METHODS = {
    "_get_train_sampler": ("self", "dataset"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_generate": ("self", "prompts"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_compute_loss": ("self", "model", "inputs"),
    "_log_completion_extra": ("self", "column", "values"),
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
