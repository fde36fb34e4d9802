"""DAPO's dynamic sampling (arXiv 2503.14476): prompts whose completions all have the same reward are replaced by new ones.

A group is useful if its rewards differ (std(r) != 0). --keep_sampling N replaces the prompts of useless groups, all-right ones
too, by prompts drawn from the data, samples those, and repeats this at most N times. Prompts that are still useless then are
kept, as without this flag (DAPO: an error), and so is the number of prompts per step (DAPO draws more than it needs and cuts).

Hints and this work together: the new prompts get hints as any other.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hint_grpo.rollout.escalation import Rollout
from hint_grpo.rollout.prompting import PreparedPrompt


@dataclass(slots=True)
class Drawn:
    """B prompts with their rollouts, and for each the tokens that were sampled for the prompts it replaced."""

    prompts: list[PreparedPrompt]
    rollouts: list[Rollout]
    redrawn_tokens: list[int]
    num_redrawn: int = 0


def until_useful(
    prompts: Sequence[PreparedPrompt],
    rollouts: Sequence[Rollout],
    *,
    max_rounds: int,
    useful: Callable[[Rollout], bool],
    draw: Callable[[int], Sequence[PreparedPrompt]],
    roll_out: Callable[[Sequence[PreparedPrompt]], list[Rollout]],
    anywhere: Callable[[int], bool],
) -> Drawn:
    """Replaces prompts whose rollout is not `useful`, in at most `max_rounds` rounds.

    `draw(n)` gives n new prompts, or fewer if the data has no more. `anywhere(n)` is whether any rank has n > 0 useless groups:
    all ranks take part in every round, because sampling may need all of them.
    """
    drawn = Drawn(list(prompts), list(rollouts), [0] * len(prompts))
    for _ in range(max_rounds):
        places = [place for place, rollout in enumerate(drawn.rollouts) if not useful(rollout)]
        if not anywhere(len(places)):
            break
        new_prompts = draw(len(places))
        for place, prompt, rollout in zip(places, new_prompts, roll_out(new_prompts), strict=False):
            drawn.redrawn_tokens[place] += drawn.rollouts[place].num_tokens
            drawn.prompts[place], drawn.rollouts[place] = prompt, rollout
            drawn.num_redrawn += 1
    return drawn


def fresh_rows(num_rows: int, used: Sequence[int], key: str) -> Iterator[int]:
    """Row numbers of the data that are not `used`, each once, in an order that follows from `key`."""
    taken = set(used)
    return (row for row in random.Random(key).sample(range(num_rows), num_rows) if row not in taken)
