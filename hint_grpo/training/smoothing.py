"""Running means over steps, for every plot and page: single steps are noisy, because they have few prompts."""

import math
from collections.abc import Iterable, Sequence


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """For each value the mean of the last `window` values up to it, without those that are not finite; NaN if none is."""
    means = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if math.isfinite(value)]
        means.append(math.fsum(known) / len(known) if known else math.nan)
    return means


def window_of(lengths: Iterable[int]) -> int:
    """A tenth of the longest curve, but 5 steps if there are enough, for runs of a few dozen steps; at least 1."""
    longest = max(lengths, default=0)
    return max(1, longest // 10, min(5, longest // 3))


def caption(window: int, prompts_per_step: Iterable[int]) -> str:
    """How to read the curves: what the two lines are, and from how many prompts a step's value is computed."""
    counts = sorted(set(prompts_per_step))
    shown = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    mean = f"Mean of the last {window} steps over the pale single ones. " if window > 1 else ""
    return f"{mean}{shown} prompts per step."
