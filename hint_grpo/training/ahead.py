"""Rollouts ahead (`--rollouts_ahead 1`): a server samples the next batch while the trainer trains on this one.

    step k       take batch k, hand over the weights after k - 1 steps, start batch k + 1, train on batch k
    step k + 1   take batch k + 1, hand over the weights after k steps, start batch k + 2, train on batch k + 1

So the completions of a batch were made by weights that are one update old: off-policy by one step. The importance weights by
token, which correct vLLM's rounding, correct this too (`hint_grpo.training.importance`). Weights are handed over between two
batches, when no request is in flight.

A separate thread samples the batch. It shares nothing that changes with the training: it has a copy of the processor (two
threads must not use one tokenizer) and of what the hint policy knows of earlier steps. A checkpoint waits for the
batch and stores it (`store`), since the weights that made it are gone when a run is resumed (`restore`).
"""

import hint_grpo.machine.stack  # noqa: F401

import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hint_grpo.hints import HintLevel
from hint_grpo.machine.files import replace_file
from hint_grpo.rollout.escalation import Discarded, Group, Rollout, Sampled
from hint_grpo.rollout.prompting import PreparedPrompt, PromptEncoder, TurnBuilder
from hint_grpo.training.batch import RolloutBatch
from hint_grpo.training.sampling import BatchSampler, reward_arguments


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch that is being sampled, and what the reward functions log for its step meanwhile."""

    batch: Future[RolloutBatch]
    logged: list[tuple[str, float]] = field(default_factory=list)

    def log_metric(self, name: str, value: float) -> None:
        """What reward functions get as `log_metric`."""
        self.logged.append((name, value))


def start(
    sampler: BatchSampler, encoder: PromptEncoder, rows: Sequence[dict[str, Any]], step: int, state: Any
) -> Pending:
    """Starts sampling the batch of `step` in a thread, by the weights that the server has now: those after `state.global_step`.

    `encoder` is for that thread alone. An exception in the thread is raised where the batch is taken.
    """
    pending, weights_step = Pending(Future()), state.global_step
    state = copy(state)
    state.global_step = step - 1  # as the reward functions see it when the batch's own step samples
    own = replace(
        sampler,
        builder=replace(sampler.builder, encoder=encoder, memory=sampler.builder.memory.copy()),
        scorer=replace(
            sampler.scorer, decode=encoder.decode, more=partial(reward_arguments, state, pending.log_metric)
        ),
    )

    def run() -> None:
        try:
            pending.batch.set_result(own.sample(own.prepare(rows, step), step, weights_step=weights_step))
        except BaseException as error:  # for the thread that takes the batch
            pending.batch.set_exception(error)

    # A daemon: a run that ends with an error does not wait for it.
    threading.Thread(target=run, name="rollouts ahead", daemon=True).start()
    return pending


def check_rows(batch: RolloutBatch, step: int, rows: Sequence[dict[str, Any]], dataset: Sequence[Any]) -> None:
    """Raises RuntimeError if a batch was sampled for other rows than the data loader gives now, or for another step."""
    wanted = [row["row"] for row in rows]
    # Rows that could not be used were replaced by the next usable ones.
    sampled = [(prompt.row["row"] - len(prompt.rejected)) % len(dataset) for prompt in batch.prompts]
    if batch.step != step or sampled != wanted:
        raise RuntimeError(
            f"rows {sampled} were sampled ahead for step {batch.step}, but step {step} has rows {wanted}: this is a bug, "
            "please report it; --rollouts_ahead 0 avoids it"
        )


# ----------------------------------------------------------------------------------------------------
# In a checkpoint: JSON, which keeps every float exactly. Pictures and prompts are made again from their rows.


def file_in(folder: Path, rank: int) -> Path:
    return folder / f"rollouts-ahead-rank-{rank}.json"


def store(file: Path, pending: Pending) -> None:
    """Waits for the batch and writes it."""
    batch = pending.batch.result()
    values = {
        "step": batch.step,
        "weights_step": batch.weights_step,
        "logged": pending.logged,
        "prompts": [
            {
                "row": prompt.row["row"],
                "num_skipped": prompt.num_skipped,
                "rejected": prompt.rejected,
                "chosen": rollout.chosen,
                "mixed": rollout.mixed,
                "groups": [_group_values(group) for group in rollout.groups.values()],
                "discarded": [[level, one.num_completions, one.num_tokens] for level, one in rollout.discarded.items()],
            }
            for prompt, rollout in zip(batch.prompts, batch.rollouts, strict=True)
        ],
    }
    replace_file(file, json.dumps(values) + "\n")


def restore(file: Path, builder: TurnBuilder, dataset: Sequence[dict[str, Any]]) -> Pending | None:
    """What `store` wrote; None without a file."""
    if not file.exists():
        return None
    values = json.loads(file.read_text(encoding="utf-8"))
    prompts, rollouts = [], []
    for index, stored in enumerate(values["prompts"]):
        row = dataset[stored["row"]]
        groups = [_group_of(group, builder, row, index, values["step"]) for group in stored["groups"]]
        by_level = {group.turn.hint.level: group for group in groups}
        discarded = {level: Discarded(*counts) for level, *counts in stored["discarded"]}
        turns = [group.turn for group in groups]
        prompts.append(PreparedPrompt(row, turns, stored["num_skipped"], stored["rejected"]))
        rollouts.append(Rollout(by_level, stored["chosen"], discarded, stored["mixed"]))
    pending = Pending(Future(), [(name, value) for name, value in values["logged"]])
    pending.batch.set_result(RolloutBatch(values["step"], prompts, rollouts, values["weights_step"]))
    return pending


def _group_values(group: Group) -> dict[str, Any]:
    hint = group.turn.hint
    return {
        "hint": [hint.level, hint.num_steps, hint.text],
        "completions": [[one.token_ids, one.logps, one.finish_reason] for one in group.completions],
        "texts": group.texts,
        "accuracy": group.accuracy_G,
        "rewards": group.rewards_GF,
    }


def _group_of(values: dict[str, Any], builder: TurnBuilder, row: dict[str, Any], index: int, step: int) -> Group:
    turn = builder.turn(row, HintLevel(*values["hint"]), index=index, step=step)
    completions = [Sampled(*one) for one in values["completions"]]
    return Group(turn, completions, values["texts"], values["accuracy"], values["rewards"])
