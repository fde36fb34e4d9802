"""Reward functions for TRL's GRPOTrainer: `accuracy` (the checker), `format` (the tags of the whole turn), and the user's.

They are called with the completions and with the data set's columns by keyword. A completion lacks the text with which
the prompt begins the turn; the column `begun` holds that text, the column `solution` the ground truths.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hint_grpo.machine.errors import UserError, did_you_mean
from hint_grpo.plugins import is_reference
from hint_grpo.prompts import THINK_OPEN, training_messages
from hint_grpo.scoring import pool
from hint_grpo.scoring.checker import check_protocol, has_released_format, is_well_formatted, score
from hint_grpo.scoring.plugged import PluggedReward, plugged_reward, plugged_scorer, right_completion, try_scorer

RewardFunction = Callable[..., Sequence[float | None]]  # one reward per completion; the built-in ones give 0.0 or 1.0

REWARD_NAMES = ("accuracy", "format")


def make_reward(name: str, protocol: str = "strict") -> RewardFunction:
    """The reward function `name`: one of `REWARD_NAMES`, or a path to one (`file.py:name`).

    `protocol` is one of `checker.PROTOCOLS`, or a path to a scorer. The function's `__name__` is what TRL uses in its logs.
    Raises UserError for an unknown name or protocol.
    """
    if is_reference(name):
        return plugged_reward(name, "--reward_funcs")
    if not is_reference(protocol):
        check_protocol(protocol)
    if name == "accuracy":
        return _scorer_reward(protocol) if is_reference(protocol) else _accuracy_reward(protocol)
    if name == "format":
        return _released_format_reward() if protocol == "released" else _format_reward()
    raise UserError(f"unknown reward {name!r}: use one of {', '.join(REWARD_NAMES)}")


def make_rewards(
    names: Sequence[str], accuracy: str | None = None, protocol: str = "strict"
) -> tuple[list[RewardFunction], RewardFunction]:
    """(the reward functions `names`, the function that decides the hint level).

    The latter is the checker, or what `accuracy` names (`file.py:name`); the reward `accuracy` is the same function.
    """
    decides = _plugged_accuracy(accuracy) if accuracy else make_reward("accuracy", protocol)
    return [decides if name == "accuracy" else make_reward(name, protocol) for name in names], decides


def check_rewards(names: Sequence[str], accuracy: str | None, protocol: str) -> None:
    """Loads what the flags name, without starting a worker of the checker. Raises UserError for any mistake in them."""
    if accuracy is not None and not is_reference(accuracy):
        raise UserError(f"--accuracy {accuracy}: give a function as file.py:name or module:name")
    unknown = [name for name in names if name not in REWARD_NAMES and not is_reference(name)]
    if unknown or not names:
        raise UserError(
            f"unknown --reward_funcs {', '.join(unknown) or '(none)'}: choose from {', '.join(REWARD_NAMES)}, or give a function "
            f"as file.py:name{did_you_mean(unknown[0], REWARD_NAMES) if unknown else ''}"
        )
    if len(set(names)) < len(names):
        raise UserError(
            f"--reward_funcs {' '.join(names)}: list each reward once, and set its weight with --reward_weights"
        )
    plugged = _plugged(names, accuracy)
    logged = [name for name in names if not is_reference(name)] + [
        one.__name__ for one in plugged if one.flag != ACCURACY
    ]
    for name in logged:
        if logged.count(name) > 1:
            raise UserError(f"--reward_funcs {' '.join(names)}: two functions have the name {name}; rename one of them")
    if is_reference(protocol):
        plugged_scorer(protocol)


def try_rewards(
    names: Sequence[str], accuracy: str | None, protocol: str, row: dict[str, Any], num_completions: int, state: Any
) -> None:
    """Calls each plugged-in function once, on made-up completions of a data row. Raises UserError.

    A right and a wrong completion alternate. `state` is the `trainer_state` that the functions get.
    """
    texts = [right_completion(row["solution"]), "I do not know."]
    completions = [texts[place % 2] for place in range(num_completions)]
    given = reward_columns(row, num_completions) | {
        "completions": completions,
        "begun": [THINK_OPEN] * num_completions,
        "prompts": [training_messages(row["question"])] * num_completions,
        "completion_ids": [list(range(1, len(text) + 1)) for text in completions],
        "trainer_state": state,
        "log_metric": lambda *_: None,
        "log_extra": lambda *_: None,
    }
    for function in _plugged(names, accuracy):
        function.try_out(given)
    if is_reference(protocol):
        try_scorer(protocol, texts[0], row["solution"])


def _plugged(names: Sequence[str], accuracy: str | None) -> list[PluggedReward]:
    """The user's own functions among the rewards, and the one of --accuracy."""
    functions = [plugged_reward(name, "--reward_funcs") for name in names if is_reference(name)]
    return [*functions, _plugged_accuracy(accuracy)] if accuracy else functions


ACCURACY = "--accuracy"


def _plugged_accuracy(reference: str) -> PluggedReward:
    return plugged_reward(reference, ACCURACY, "accuracy")


def columns_of(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a data row as rewards and hint policies get them: its own, and the extra fields of a JSONL file."""
    extra = json.loads(row.get("extra") or "{}")
    return extra | {name: value for name, value in row.items() if name not in ("extra", "row")}


def reward_columns(row: dict[str, Any], num_completions: int) -> dict[str, list[Any]]:
    """`columns_of` the row, once per completion."""
    return {name: [value] * num_completions for name, value in columns_of(row).items()}


def _scorer_reward(reference: str) -> RewardFunction:
    scorer = plugged_scorer(reference)

    def accuracy(completions: list[str], solution: list[str], **columns: Any) -> list[float]:
        return [scorer(text, gold) for text, gold in zip(completions, solution, strict=True)]

    return accuracy


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
