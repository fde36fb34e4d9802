"""Two signs that a run is no longer worth its electricity: rewards that say nothing, and weights that do not arrive."""

import math
import sys
from collections.abc import Iterable
from statistics import median

GAP_FACTOR = 3.0
GAP_MARGIN = 0.01  # log-probability per token; a gap of rounding alone (float32: 1e-6) must not count
GAP_STEPS_OF_REFERENCE = 5
GAP_PATIENCE = 5


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

    Rounding makes a gap that stays as it is; weights that did not arrive make one that grows with every update. The first steps
    are the measure for what rounding makes.
    """

    def __init__(self) -> None:
        self.first: list[float] = []
        self.num_wide = 0

    def look(self, gap: float, step: int) -> str | None:
        """A warning where the gap is too wide, else None; raises TrainingStopped when it stays so."""
        if math.isnan(gap):
            return None
        limit = GAP_FACTOR * median(self.first) + GAP_MARGIN if self.first else math.inf
        if gap <= limit:
            self.num_wide = 0
            self.first = [*self.first, gap][:GAP_STEPS_OF_REFERENCE]
            return None
        self.num_wide += 1
        text = (
            f"step {step}: vLLM's and the trainer's log-probabilities differ by {gap:.4f} per token (at first "
            f"{median(self.first):.4f}): the new weights may not have arrived in vLLM"
        )
        if self.num_wide >= GAP_PATIENCE:
            raise TrainingStopped(f"{text}, for {self.num_wide} steps in a row")
        return text


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
