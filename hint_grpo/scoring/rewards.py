"""Reward functions for TRL's GRPOTrainer: `accuracy` (the checker) and `format` (the tags of the whole turn).

TRL calls them with the completions and with the data set's columns by keyword. A completion lacks the text with which
the prompt begins the turn; the column `begun` holds that text, the column `solution` the ground truths.
"""

from collections.abc import Callable
from typing import Any

from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import THINK_OPEN
from hint_grpo.scoring import pool
from hint_grpo.scoring.checker import check_protocol, has_released_format, is_well_formatted, score

RewardFunction = Callable[..., list[float]]  # one reward, 0.0 or 1.0, per completion

REWARD_NAMES = ("accuracy", "format")


def make_reward(name: str, protocol: str = "strict") -> RewardFunction:
    """The reward function `name`, one of `REWARD_NAMES`, under a protocol of `checker.PROTOCOLS`.

    Its `__name__` is `name`, which TRL uses in its logs. Raises UserError for an unknown name or protocol.
    """
    check_protocol(protocol)
    if name == "accuracy":
        return _accuracy_reward(protocol)
    if name == "format":
        return _released_format_reward() if protocol == "released" else _format_reward()
    raise UserError(f"unknown reward {name!r}: use one of {', '.join(REWARD_NAMES)}")


def _accuracy_reward(protocol: str) -> RewardFunction:
    pool.start()  # the first worker loads while the model does

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
