"""Reward functions for TRL's GRPOTrainer: `accuracy` (the checker) and `format` (the shape of the whole turn).

Each takes the texts that the model wrote, without what its turn was begun with, and the data set's columns by name:
`solution` holds the ground truths, `begun` what each turn was begun with.
"""

from collections.abc import Callable
from typing import Any

from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import THINK_OPEN
from hint_grpo.scoring import pool
from hint_grpo.scoring.answer_tags import is_well_formatted
from hint_grpo.scoring.checker import check_protocol, has_released_format, score

RewardFunction = Callable[..., list[float]]

REWARD_NAMES = ("accuracy", "format")


def make_reward(name: str, protocol: str = "strict") -> RewardFunction:
    """The reward function `name`; its `__name__` is `name`, which is how TRL's logs call it."""
    check_protocol(protocol)
    if name == "accuracy":
        return _accuracy_reward(protocol)
    if name == "format":
        return _released_format_reward() if protocol == "released" else _format_reward()
    raise UserError(f"unknown reward {name!r}: use one of {', '.join(REWARD_NAMES)}")


def _accuracy_reward(protocol: str) -> RewardFunction:
    pool.start()

    def accuracy(completions: list[str], solution: list[str], **columns: Any) -> list[float]:
        return [score(text, gold, protocol) for text, gold in zip(completions, solution, strict=True)]

    return accuracy


def _format_reward() -> RewardFunction:
    def format(completions: list[str], begun: list[str] | None = None, **columns: Any) -> list[float]:
        begun = begun or [THINK_OPEN] * len(completions)
        return [float(is_well_formatted(text, start)) for text, start in zip(completions, begun, strict=True)]

    return format


def _released_format_reward() -> RewardFunction:
    def format(completions: list[str], **columns: Any) -> list[float]:
        return [float(has_released_format(text)) for text in completions]

    return format
