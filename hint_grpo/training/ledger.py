"""The hint ledger: what happened to each prompt at each step. One record:

    {"step": 12, "weights_step": 11, "id": "geoqa+/5137#0", "level": 1, "hint_steps": 1, "num_steps": 3, "hint_tokens": 24,
     "valid": true, "rewards": {"0": [0.0, 0.0, 0.0, 0.0], "1": [0.0, 1.0, 0.0, 1.0]}, "accuracy": {"0": [...], "1": [...]},
     "steps_by_level": {"0": 0, "1": 1}, "mixed": false, "sampled_tokens": {"0": 201, "1": 160}, "redrawn_tokens": 0,
     "discarded_tokens": {"2": 71}, "discarded_completions": {"2": 4}, "skipped_levels": 0}

The completions were sampled by the weights after `weights_step` steps: step - 1, or one less with --rollouts_ahead. `level` is
the level trained on; `rewards` (weighted sums) and `accuracy` are given for every level sampled. Speculative
escalation also begins with higher levels, whose tokens are thrown away and counted by level. In a `mixed` group the levels are
its rounds, all trained on, and `hint_steps` and `hint_tokens` are means over its completions.

Metrics and plots are computed from records alone, so that every figure can be redrawn from the file.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hint_grpo.machine.files import first_free, replace_file
from hint_grpo.rollout.escalation import Group, Rollout, Turn

Record = dict[str, Any]
FILE_NAME = "hint_ledger.jsonl"
LOG_NAME = "log.jsonl"
"""The run's other file of records by step: what is logged."""


def is_valid(rewards_G: Sequence[float]) -> bool:
    """Whether a group has a training signal: std(r) != 0 over the completions that have a reward (the paper's S_valid)."""
    scored = {reward for reward in rewards_G if not math.isnan(reward)}
    return len(scored) > 1


def make_record(
    step: int,
    weights_step: int,
    row: dict[str, Any],
    rollout: Rollout,
    weights_F: Sequence[float],
    skipped: int,
    redrawn_tokens: int = 0,
) -> Record:
    """`weights_F`: of the reward functions; `skipped`: levels that did not fit into the context; `redrawn_tokens`: sampled for
    prompts that this one replaced (--keep_sampling)."""
    rewards = {level: group.weighted_rewards(weights_F) for level, group in rollout.groups.items()}
    return {
        "step": step,
        "weights_step": weights_step,
        "id": row["id"],
        "level": rollout.chosen,
        "hint_steps": _over_completions(rollout.trained, lambda turn: turn.hint.num_steps),
        "num_steps": len(row["reasoning_steps"]),
        "hint_tokens": _over_completions(rollout.trained, lambda turn: turn.hint_tokens),
        "valid": has_signal(rollout, weights_F),
        "rewards": {str(level): rewards_G for level, rewards_G in rewards.items()},
        "accuracy": {str(level): group.accuracy_G for level, group in rollout.groups.items()},
        "steps_by_level": {str(level): group.turn.hint.num_steps for level, group in rollout.groups.items()},
        "mixed": rollout.mixed,
        "sampled_tokens": {str(level): group.num_tokens for level, group in rollout.groups.items()},
        "redrawn_tokens": redrawn_tokens,
        "discarded_tokens": {str(level): discarded.num_tokens for level, discarded in rollout.discarded.items()},
        "discarded_completions": {
            str(level): discarded.num_completions for level, discarded in rollout.discarded.items()
        },
        "skipped_levels": skipped,
    }


def has_signal(rollout: Rollout, weights_F: Sequence[float]) -> bool:
    """Whether what is trained on has completions of different rewards."""
    return is_valid([reward for group in rollout.trained for reward in group.weighted_rewards(weights_F)])


def sampled_tokens(record: Record) -> int:
    """Of all levels, and of the prompts that this one replaced (older ledgers do not have those)."""
    return sum(record["sampled_tokens"].values()) + record.get("redrawn_tokens", 0)


def _over_completions(groups: Sequence[Group], value: Callable[[Turn], int]) -> float:
    """The value of the turn that was trained on; for a mixed group, its mean over the completions."""
    values = [value(group.turn) for group in groups for _ in group.completions]
    return value(groups[0].turn) if len(groups) == 1 else sum(values) / len(values)


def never_correct(record: Record) -> bool:
    """Whether no completion is correct at any level. The chosen level suffices: it has a correct completion if any level has."""
    return 1.0 not in record["accuracy"][str(record["level"])]


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def metrics(records: Sequence[Record], num_levels: int) -> dict[str, float]:
    """A step's metrics, of the records of all ranks. `hint/data_utilization` is the share of valid groups (the paper's S_valid).

    `hint/reward_level_i` is the mean over the prompts sampled at level i: unless escalation is eager, those that failed below.
    """
    result = {
        "hint/data_utilization": _mean(record["valid"] for record in records),
        "hint/data_utilization_level0": _mean(is_valid(record["rewards"]["0"]) for record in records),
        "hint/mean_level": _mean(record["level"] for record in records),
        "hint/mean_ratio": _mean(record["hint_steps"] / max(record["num_steps"], 1) for record in records),
        "hint/never_correct": _mean(never_correct(record) for record in records),
        "hint/one_step_samples": sum(record["num_steps"] < 2 for record in records),
        "hint/skipped_levels": sum(record["skipped_levels"] for record in records),
        "hint/sampled_tokens": sum(map(sampled_tokens, records)),
        "hint/discarded_tokens": sum(sum(record.get("discarded_tokens", {}).values()) for record in records),
    }
    highest = max((int(level) for record in records for level in record["rewards"]), default=0)
    for level in range(max(num_levels, highest + 1)):
        tried = [record["rewards"][str(level)] for record in records if str(level) in record["rewards"]]
        result[f"hint/share_level_{level}"] = _mean(record["level"] == level for record in records)
        result[f"hint/reward_level_{level}"] = _mean(_mean(rewards_G) for rewards_G in tried)
    return result


def append(path: Path, records: Iterable[Record]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def read_until(path: Path, step: int) -> list[Record]:
    """The records up to `step`, in the file's order; none without a file."""
    return [json.loads(line) for line in _lines_until(path, step)] if path.exists() else []


def _lines_until(path: Path, step: int) -> list[str]:
    """The lines of the records up to `step`. A line that a kill cut off belongs to a later step and is left out."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= step:
            kept.append(line)
    return kept


def start(path: Path, step: int) -> None:
    """Prepares a file of records for a run that continues after `step`: later records are removed. A new run (step 0) renames
    it."""
    if not path.exists():
        return
    if step == 0:
        path.rename(first_free(lambda number: path.with_name(f"{path.stem}.{number}.jsonl")))
        return
    replace_file(path, "".join(line + "\n" for line in _lines_until(path, step)))
