"""From prompts to rollouts: which level of which prompt is sampled when, and which group is trained on.

The original samples and scores every level of every prompt and uses one. Here a backend is handed the first turns and asks,
each time a group is complete, what to sample next: a prompt goes up a level the moment its own group is judged, whatever
the others do, and a prompt that has succeeded costs nothing more.
"""

import hashlib
from collections.abc import Callable, Sequence

from hint_grpo.hints import chosen_level
from hint_grpo.rollout.types import Group, Rollout, RolloutBackend, Sampled, Turn

Judge = Callable[[Turn, list[Sampled]], Group]


def turn_seed(run_seed: int, step: int, sample_id: str, level: int) -> int:
    """A sampling seed that depends on nothing but these four, so that a step can be repeated after a resume."""
    digest = hashlib.blake2b(f"{run_seed}/{step}/{sample_id}/{level}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 33  # 31 bits: every sampler takes them


def choose(groups: dict[int, Group]) -> int:
    """The lowest level with a correct completion, else the lowest sampled (level 0). Accuracy alone decides."""
    levels = sorted(groups)
    return levels[chosen_level([groups[level].accuracy_G for level in levels])]


def roll_out(
    turns_BH: Sequence[Sequence[Turn]], backend: RolloutBackend, judge: Judge, *, num_generations: int, lazy: bool
) -> list[Rollout]:
    """Samples each prompt's turns (lowest level first) until one group has a correct completion.

    `lazy` samples level i+1 only for prompts without a correct completion so far; otherwise all levels go out at once.
    """
    rollouts = [Rollout() for _ in turns_BH]

    def on_group(turn: Turn, completions: list[Sampled]) -> Sequence[Turn]:
        rollout, turns_H = rollouts[turn.index], turns_BH[turn.index]
        group = judge(turn, completions)
        rollout.groups[turn.hint.level] = group
        if not lazy or any(accuracy == 1.0 for accuracy in group.accuracy_G):
            return []
        return turns_H[len(rollout.groups) : len(rollout.groups) + 1]

    first = [turn for turns_H in turns_BH for turn in (turns_H[:1] if lazy else turns_H)]
    with backend.ready():
        backend.run(first, num_generations, on_group)
    for rollout in rollouts:
        rollout.groups = dict(sorted(rollout.groups.items()))
        rollout.chosen = choose(rollout.groups)
    return rollouts
