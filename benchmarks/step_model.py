"""A model of a training step: what each schedule costs on other hardware, computed from lengths and a few constants.

    python benchmarks/step_model.py                          a 7B model on a node of 8 GPUs with 80 GB (modelled, not measured)
    python benchmarks/step_model.py --check FILE.json        against benchmarks/escalation.py --json FILE.json, on any machine

Sampling is simulated event by event. A decoding step takes `base` + `row` * rows seconds: reading the weights takes the same time
for one row and for a hundred, reading a row's cache comes on top. Completions have given or drawn lengths; the first completion
of a prompt's group is right from a level on that is given too. Training takes a time per token of the padded batch.

The check takes `base` and `row` from two of the measured schedules (one level, eager) and the training time per token from one
(one level), and predicts the others.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Schedule = Literal["lazy", "eager", "speculative"]
SCHEDULES: tuple[Schedule, ...] = ("lazy", "eager", "speculative")

# ----------------------------------------------------------------------------------------------------
# What is sampled


@dataclass(frozen=True, slots=True)
class Work:
    """One step. Shapes: B prompts, H levels, G completions."""

    lengths_BHG: Sequence[Sequence[Sequence[int]]]  # tokens
    needed_B: Sequence[int]  # the lowest level at which the first completion is right; H or more: none is
    prompt_tokens: int
    hint_tokens_H: Sequence[int]

    @property
    def num_levels(self) -> int:
        return len(self.hint_tokens_H)

    def is_right(self, prompt: int, level: int, place: int) -> bool:
        return place == 0 and level >= self.needed_B[prompt]

    def chosen(self, prompt: int) -> int:
        """The lowest level with a right completion, else 0."""
        return self.needed_B[prompt] if self.needed_B[prompt] < self.num_levels else 0

    def first_levels(self, num_levels: int) -> "Work":
        """The same step with fewer levels."""
        lengths = [lengths_HG[:num_levels] for lengths_HG in self.lengths_BHG]
        return replace(self, lengths_BHG=lengths, hint_tokens_H=self.hint_tokens_H[:num_levels])


@dataclass(frozen=True, slots=True)
class Decoding:
    """Seconds: `base` + `row` * rows per decoding step, `prompt_token` per token of a prompt."""

    base: float
    row: float
    prompt_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """The result of a simulation: seconds, decoding steps, and tokens of all completions, also of stopped ones."""

    seconds: float
    num_steps: int
    tokens: int


def simulate(work: Work, schedule: Schedule, decoding: Decoding) -> Sampling:
    """Samples the step. All rows decode together; a prompt's picture and text are computed once."""
    rows: dict[tuple[int, int, int], int] = {}  # (prompt, level, place) -> tokens that are still to come

    def submit(prompt: int, level: int) -> None:
        rows.update({(prompt, level, place): n for place, n in enumerate(work.lengths_BHG[prompt][level])})

    prompts, group = range(len(work.lengths_BHG)), len(work.lengths_BHG[0][0])
    for prompt in prompts:
        for level in range(1 if schedule == "lazy" else work.num_levels):
            submit(prompt, level)
    seconds = decoding.prompt_token * work.prompt_tokens * len(prompts)
    num_steps = tokens = 0
    ended: dict[tuple[int, int], int] = {}
    while rows:
        steps = min(rows.values())
        seconds += steps * (decoding.base + decoding.row * len(rows))
        num_steps, tokens = num_steps + steps, tokens + steps * len(rows)
        rows = {key: left - steps for key, left in rows.items()}
        for prompt, level, place in sorted(key for key, left in rows.items() if left == 0):
            if rows.pop((prompt, level, place), None) is None:
                continue  # stopped in this very step
            ended[prompt, level] = ended.get((prompt, level), 0) + 1
            if schedule == "speculative" and work.is_right(prompt, level, place):
                rows = {key: left for key, left in rows.items() if key[0] != prompt or key[1] <= level}
            # The next level, if this one is complete and has no right completion.
            is_complete = ended[prompt, level] == group
            if schedule == "lazy" and is_complete and level < work.needed_B[prompt] and level + 1 < work.num_levels:
                submit(prompt, level + 1)
    return Sampling(seconds, num_steps, tokens)


# ----------------------------------------------------------------------------------------------------
# What is trained on


def padded_tokens(work: Work, levels_B: Sequence[int], prompts: Sequence[int]) -> int:
    """Tokens of a batch with the groups of these prompts at these levels, padded to its longest row."""
    group = len(work.lengths_BHG[0][0])
    longest = max(
        work.hint_tokens_H[level] + max(work.lengths_BHG[prompt][level])
        for prompt, level in zip(prompts, levels_B, strict=True)
    )
    return len(prompts) * group * (work.prompt_tokens + longest)


def tokens_of_busiest(work: Work, num_ranks: int) -> int:
    """Padded tokens of the rank with the most; prompts are dealt out in order, a rank trains on its prompts one by one."""
    prompts = range(len(work.lengths_BHG))
    by_rank = [list(prompts[rank::num_ranks]) for rank in range(num_ranks)]
    return max(sum(padded_tokens(work, [work.chosen(one)], [one]) for one in ones) for ones in by_rank if ones)


# ----------------------------------------------------------------------------------------------------
# A node: a 7B model, 7 GPUs train, one samples


@dataclass(frozen=True, slots=True)
class Node:
    """The constants of the model, in seconds. See `A_NODE` for where they come from."""

    decoding: Decoding
    forward_token: float  # one forward pass of one token on one GPU
    passes: float  # forward passes per step, a backward pass counted as two
    update: float  # seconds per step: optimizer, gathering of sharded weights
    hand_over: float  # seconds per step: handing the weights to vLLM, while it does not sample
    num_ranks: int


WEIGHTS = 7.6e9  # of Qwen2-VL-7B's language model, which every token passes through
BANDWIDTH = 2.0e12  # bytes per second of an A100's memory (datasheet)
PEAK, USED = (
    312e12,
    0.4,
)  # bf16 operations per second of an A100 (datasheet), and the share that training reaches (assumed)
CACHE_BYTES = 28 * 4 * 128 * 2 * 2  # per token: layers, key-value heads, head size, keys and values, bytes
CONTEXT = 900  # tokens that a row reads on average: the prompt with its picture, and half a completion (assumed)
FORWARD = 2 * WEIGHTS / (PEAK * USED)
A_NODE = Node(
    # 2 bytes per weight are read in every step, 7.6 ms; with the rest of a step about 9 ms for 28 to 84 rows.
    decoding=Decoding(9e-3, CACHE_BYTES * CONTEXT / BANDWIDTH, FORWARD),
    forward_token=FORWARD,
    passes=5,  # reference, policy, again for gradient checkpointing, backward
    update=0.5,  # optimizer on the GPU 0.2, gathering 0.3 (assumed)
    hand_over=2.0,  # of 16.6 GB (assumed)
    num_ranks=7,
)


def step_seconds(work: Work, schedule: Schedule, node: Node, *, scores_all_levels: bool = False) -> tuple[float, float]:
    """(sampling, training without the hand-over). scores_all_levels: policy and reference score the groups of all levels, as in
    the original code."""
    training = node.passes * node.forward_token * tokens_of_busiest(work, node.num_ranks)
    if scores_all_levels:
        others = [replace(work, needed_B=[level] * len(work.needed_B)) for level in range(1, work.num_levels)]
        # Policy and reference: two more forward passes per level.
        training += sum(2 * node.forward_token * tokens_of_busiest(other, node.num_ranks) for other in others)
    return simulate(work, schedule, node.decoding).seconds, training + node.update


def drawn_work(prompts: int, group: int, num_levels: int, median: int, sigma: float, longest: int, seed: int) -> Work:
    """Log-normal lengths, shorter by the share that a hint gives. Half of the prompts succeed at level 0, a quarter at 1, a
    quarter at 2."""
    rng = random.Random(f"{prompts}/{group}/{sigma}/{seed}")

    def length(level: int) -> int:
        return max(4, round(min(longest, rng.lognormvariate(math.log(median), sigma)) * (1 - level / num_levels)))

    lengths = [[[length(level) for _ in range(group)] for level in range(num_levels)] for _ in range(prompts)]
    needed = [rng.choice((0, 0, 1, 2)) for _ in range(prompts)]
    return Work(lengths, needed, 600, [median * level // num_levels for level in range(num_levels)])


def over_plain(num_levels: int, prompts: int, sigma: float, num_steps: int, node: Node = A_NODE) -> dict[str, float]:
    """Mean step time by schedule, as a multiple of that with one level; "plain" is that of one level in seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in ("plain", *SCHEDULES, "ahead", "original", "sampling")}
    for seed in range(num_steps):
        work = drawn_work(prompts, 4, num_levels, 250, sigma, 768, seed)
        one_level = step_seconds(work.first_levels(1), "lazy", node)
        times = {schedule: step_seconds(work, schedule, node) for schedule in SCHEDULES}
        seconds["plain"].append(node.hand_over + sum(one_level))
        seconds["sampling"].append(one_level[0])
        for schedule in SCHEDULES:
            seconds[schedule].append(node.hand_over + sum(times[schedule]))
        seconds["ahead"].append(node.hand_over + max(times["speculative"]))
        seconds["original"].append(node.hand_over + sum(step_seconds(work, "eager", node, scores_all_levels=True)))
    means = {name: statistics.mean(values) for name, values in seconds.items()}
    plain = means.pop("plain")
    return {"plain": plain} | {name: value / plain for name, value in means.items()}


def modelled_table(num_steps: int) -> str:
    lines = [
        "Modelled, not measured: Qwen2-VL-7B on 8 GPUs of 80 GB, groups of 4, lengths with median 250 and at most 768 tokens; "
        f"means of {num_steps} drawn steps. Ahead: speculative, and the next step is sampled during the training, "
        "but not during the hand-over of the weights.",
        "",
        "| prompts | sigma | M | one level (s) | of that sampling | lazy | eager | speculative | ahead | original |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    cases = [(7, sigma, levels) for sigma in (0.6, 0.8) for levels in (1, 2, 3, 4)]
    cases += [(prompts, 0.6, 3) for prompts in (1, 14, 28, 64)]
    for prompts, sigma, levels in cases:
        times = over_plain(levels, prompts, sigma, num_steps)
        changes = " | ".join(
            f"{100 * (times[name] - 1):+.1f} %" for name in ("lazy", "eager", "speculative", "ahead", "original")
        )
        lines.append(
            f"| {prompts} | {sigma} | {levels} | {times['plain']:.1f} | {100 * times['sampling']:.0f} % | {changes} |"
        )
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------
# The check against a measurement


def check(measured: dict[str, Any]) -> str:
    """A table of measured and predicted times over one level, by schedule. See benchmarks/escalation.py for the JSON."""
    steps, setting = measured["steps"], measured["setting"]
    works = [Work(**work) for work in setting["works"]]
    names = setting["schedules"]  # variant -> (schedule, number of levels, whether all levels are scored)

    def work_of(variant: str, number: int) -> Work:
        return works[number].first_levels(names[variant][1])

    def median_of(variant: str, value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(value, steps[variant]))

    plain, eager = setting["plain"], setting["eager"]
    # base and row from the medians of two schedules: seconds = base * steps + row * tokens.
    equations = []
    for variant in (plain, eager):
        alone = [simulate(work_of(variant, number), names[variant][0], Decoding(0, 0)) for number in range(len(works))]
        counts = (statistics.median(one.num_steps for one in alone), statistics.median(one.tokens for one in alone))
        equations.append((*counts, median_of(variant, lambda step: step["stages"]["generate"])))
    decoding = Decoding(*solve(*equations))
    # Training: seconds per padded token, from one level.
    tokens = [_trained_tokens(work_of(plain, number)) for number in range(len(works))]
    rest = [step["seconds"] - step["stages"]["generate"] for step in steps[plain]]
    per_token = statistics.median(seconds / count for seconds, count in zip(rest, tokens, strict=True))
    passes = [step["stages"]["policy"] + step["stages"]["reference"] for step in steps[plain]]
    scoring = statistics.median(seconds / count for seconds, count in zip(passes, tokens, strict=True))
    predicted: dict[str, tuple[float, float]] = {}
    for variant, (schedule, _, scores_all) in names.items():
        sampling, whole = [], []
        for number in range(len(works)):
            work = work_of(variant, number)
            seconds = simulate(work, schedule, decoding).seconds
            training = per_token * _trained_tokens(work)
            if scores_all:
                training += scoring * _other_tokens(work)
            sampling.append(seconds)
            whole.append(seconds + training)
        predicted[variant] = statistics.median(sampling), statistics.median(whole)
    lines = [
        f"decoding: {1e3 * decoding.base:.2f} ms + {1e3 * decoding.row:.3f} ms per row; "
        f"training: {1e3 * per_token:.3f} ms per token",
        "",
        "| schedule | sampling over one level: measured | modelled | step over one level: measured | modelled | off by |",
        "|---|---|---|---|---|---|",
    ]
    for variant in names:
        sampled = median_of(variant, lambda step: step["stages"]["generate"]) / median_of(
            plain, lambda step: step["stages"]["generate"]
        )
        whole_ratio = median_of(variant, lambda step: step["seconds"]) / median_of(plain, lambda step: step["seconds"])
        modelled = [one / base for one, base in zip(predicted[variant], predicted[plain], strict=True)]
        off = 100 * (modelled[1] / whole_ratio - 1)
        lines.append(
            f"| {variant} | {sampled:.2f} | {modelled[0]:.2f} | {whole_ratio:.2f} | {modelled[1]:.2f} | {off:+.0f} % |"
        )
    return "\n".join(lines)


def solve(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """(x, y) with a x + b y = c for both (a, b, c)."""
    (a, b, c), (d, e, f) = first, second
    determinant = a * e - b * d
    return (c * e - b * f) / determinant, (a * f - c * d) / determinant


def _trained_tokens(work: Work) -> int:
    prompts = range(len(work.lengths_BHG))
    return padded_tokens(work, [work.chosen(prompt) for prompt in prompts], prompts)


def _other_tokens(work: Work) -> int:
    """Of the groups that are not trained on, level by level, as the original's schedule scores them."""
    total = 0
    for level in range(work.num_levels):
        prompts = [prompt for prompt in range(len(work.lengths_BHG)) if work.chosen(prompt) != level]
        if prompts:
            total += padded_tokens(work, [level] * len(prompts), prompts)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="FILE.json", help="what benchmarks/escalation.py --json wrote")
    parser.add_argument("--steps", type=int, default=100, help="drawn steps per row of the modelled table")
    arguments = parser.parse_args()
    print(check(json.loads(arguments.check.read_text())) if arguments.check else modelled_table(arguments.steps))


if __name__ == "__main__":
    main()
