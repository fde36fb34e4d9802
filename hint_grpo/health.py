"""Checks that warn about or stop a broken run: unusable rewards, wrong weights in vLLM, steps that teach nothing."""

import math
import sys
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from hint_grpo.ledger import Record, never_correct

GAP_FACTOR = 3.0
GAP_MARGIN = 0.01  # log-probability per token; a gap of rounding alone (float32: 1e-6) must not count
GAP_STEPS_OF_REFERENCE = 5
GAP_PATIENCE = 5
GAP_REMIND_STEPS = 100  # how often a run that trains on in spite of the gap is warned


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says why and what to look at."""


class RewardWatch:
    """Stops the run after `max_bad_steps` steps in a row without a single usable reward."""

    def __init__(self, max_bad_steps: int) -> None:
        self.max_bad_steps = max_bad_steps
        self.num_bad_steps = 0

    def look(self, rewards: Iterable[float]) -> int:
        """Takes a step's rewards of all ranks; returns how many of them are None, NaN or inf."""
        finite = [math.isfinite(reward) for reward in rewards]
        self.num_bad_steps = 0 if any(finite) else self.num_bad_steps + 1
        if self.num_bad_steps >= self.max_bad_steps:
            raise TrainingStopped(
                f"no reward function gave a usable reward for {self.num_bad_steps} steps in a row (None, NaN or inf for all "
                f"{len(finite)} completions): look at the reward functions and at OUTPUT_DIR/completions; "
                "--max_bad_steps sets how many such steps are borne"
            )
        return finite.count(False)


class GapWatch:
    """vLLM's against the trainer's log-probabilities of the sampled tokens, mean |difference| per token, step by step.

    Two bounds. Rounding makes a gap that stays constant, stale weights one that grows with every update: the first steps
    measure the rounding, and later ones may exceed it by GAP_FACTOR. A gap that is wide from the first step shows no growth:
    no gap may exceed `max_gap` (see --max_logp_gap for the default).
    """

    def __init__(self, max_gap: float, *, stop: bool = True) -> None:
        self.max_gap, self.stop = max_gap, stop
        self.first: list[float] = []
        self.num_wide = 0

    def look(self, gap: float, step: int) -> str | None:
        """A warning if the gap is too wide, else None; with `stop`, TrainingStopped after GAP_PATIENCE wide steps in a row."""
        if math.isnan(gap):
            return None
        usual = median(self.first) if self.first else math.inf
        if gap <= min(GAP_FACTOR * usual + GAP_MARGIN, self.max_gap):
            self.num_wide = 0
            self.first = [*self.first, gap][:GAP_STEPS_OF_REFERENCE]
            return None
        self.num_wide += 1
        text = (
            f"step {step}: vLLM's and the trainer's log-probabilities differ by {gap:.4f} per token ({self._why(usual)}"
        )
        if self.num_wide >= GAP_PATIENCE and self.stop:
            raise TrainingStopped(f"{text}, for {self.num_wide} steps in a row; --stop_on_logp_gap false trains on")
        often = self.num_wide <= GAP_PATIENCE or self.num_wide % GAP_REMIND_STEPS == 0
        return text if often else None

    def _why(self, usual: float) -> str:
        if math.isinf(usual):
            return (
                f"--max_logp_gap {self.max_gap:g}) from the first step on: vLLM may have other weights, another dtype or other "
                "prompts (picture size, hint) than the trainer"
            )
        return f"at first {usual:.4f}): the new weights may not have arrived in vLLM"


class SignalWatch:
    """Notices `patience` steps in a row in which no group was valid: the run learnt nothing from them."""

    def __init__(self, patience: int, last_valid_step: int = 0) -> None:
        self.patience = patience
        self.last_valid_step = last_valid_step
        self.num_prompts = self.num_never_correct = 0  # since the last valid group

    def add(self, records: Sequence[Record], step: int) -> None:
        """Takes a batch's ledger records of all ranks; a step may have several batches."""
        if any(record["valid"] for record in records):
            self.last_valid_step, self.num_prompts, self.num_never_correct = step, 0, 0
        else:
            self.num_prompts += len(records)
            self.num_never_correct += sum(never_correct(record) for record in records)

    def end_step(self, step: int) -> str | None:
        """A warning after every `patience` steps without a valid group, else None."""
        num_steps = step - self.last_valid_step
        if num_steps < 1 or num_steps % self.patience or not self.num_prompts:
            return None
        share = self.num_never_correct / self.num_prompts
        return f"no valid group for {num_steps} steps in a row: nothing is learnt. {_what_to_check(share)}"


def _what_to_check(never_correct_share: float) -> str:
    if never_correct_share > 0.5:
        return (
            f"{never_correct_share:.0%} of the prompts had no correct completion at any hint level. Look in "
            "OUTPUT_DIR/completions: is the answer inside <answer> tags, is it cut off (completions/clipped_ratio, "
            "--max_completion_length), is a "
            "correct one judged wrong (--scorer)? If all are really wrong, the questions are too hard for this model"
        )
    return (
        f"{1 - never_correct_share:.0%} of the prompts had a correct completion, but all completions of a group got the same "
        "reward: the questions may be too easy for this model, or the completions identical (--temperature)"
    )


class Health:
    """The three checks of a run, and what a checkpoint keeps of them."""

    def __init__(self, args: Any) -> None:
        """`args`: HintGRPOConfig."""
        self.rewards = RewardWatch(args.max_bad_steps)
        self.gap = GapWatch(args.max_logp_gap, stop=args.stop_on_logp_gap)
        self.signal = SignalWatch(args.warn_without_signal)

    def counters(self) -> dict[str, Any]:
        return {
            "num_bad_steps": self.rewards.num_bad_steps,
            "first_gaps": self.gap.first,
            "last_valid_step": self.signal.last_valid_step,
        }

    def restore(self, counters: dict[str, Any], step: int) -> None:
        """`counters` of a checkpoint after `step`; one of an older version may lack some."""
        self.rewards.num_bad_steps = counters.get("num_bad_steps", 0)
        self.gap.first = counters.get("first_gaps", [])
        self.signal.last_valid_step = counters.get("last_valid_step", step)


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
