"""Groups that mix completions with and without hints: sampled in rounds, all of them trained on together.

A mixing policy (hint_grpo.policies) splits the G completions into rounds. Every round of every prompt is scored before the next
begins, since the next hint may depend on it. In the Rollout the rounds take the place of the levels. Every rank samples the same
number of rounds.
"""

import math
from collections.abc import Callable, Sequence

from hint_grpo.policies.history import Tried
from hint_grpo.rollout.escalation import Escalation, Group, Rollout, RolloutBackend, Scorer, Turn

# (which prompt, number of the round, what its earlier rounds gave) -> the turn to sample
NextTurn = Callable[[int, int, tuple[Tried, ...]], Turn]


def roll_out_mixed(
    first_B: Sequence[Turn],
    sizes: Sequence[int],
    backend: RolloutBackend,
    scorer: Scorer,
    next_turn: NextTurn,
) -> list[Rollout]:
    """Samples `sizes[r]` completions of each prompt in round r, from `first_B` and then `next_turn`; returns B rollouts."""
    rollouts = [Rollout(mixed=True) for _ in first_B]
    turns = list(first_B)
    with backend.ready():
        for number, size in enumerate(sizes):
            if number:
                turns = [next_turn(index, number, outcomes(rollout)) for index, rollout in enumerate(rollouts)]
            # A round has one turn per prompt: there is nothing to escalate to.
            one_round = Escalation([[turn] for turn in turns], scorer, num_generations=size, schedule="lazy")
            backend.run(one_round)
            for rollout, sampled in zip(rollouts, one_round.rollouts(), strict=True):
                rollout.groups |= sampled.groups
    for rollout in rollouts:
        # Shown as the level trained on: the first round with a correct completion, else the first.
        rollout.chosen = next((number for number, group in rollout.groups.items() if 1.0 in group.accuracy_G), 0)
    return rollouts


def outcomes(rollout: Rollout) -> tuple[Tried, ...]:
    """The rounds so far, as a policy sees them."""
    return tuple(Tried(group.turn.hint.num_steps, tuple(group.accuracy_G)) for group in rollout.groups.values())


def separate_advantages(
    rollouts: Sequence[Rollout], weights_F: Sequence[float], *, divide: bool, eps: float = 1e-4
) -> list[float]:
    """(B * G,) advantages of mixed groups with separate statistics: completions with the same hint are compared with each other.

    (r - mean) / (std + eps), or r - mean without `divide`, over a prompt's completions with the same number of steps. A
    completion alone with its hint, or without a reward, has the advantage 0.
    """
    return [one for rollout in rollouts for one in _by_hint(rollout.trained, weights_F, divide, eps)]


def _by_hint(groups: Sequence[Group], weights_F: Sequence[float], divide: bool, eps: float) -> list[float]:
    rewards = [(group.turn.hint.num_steps, reward) for group in groups for reward in group.weighted_rewards(weights_F)]
    known: dict[int, list[float]] = {}
    for num_steps, reward in rewards:
        if not math.isnan(reward):
            known.setdefault(num_steps, []).append(reward)
    return [0.0 if math.isnan(r) else _advantage(r, known[num_steps], divide, eps) for num_steps, r in rewards]


def _advantage(reward: float, rewards: Sequence[float], divide: bool, eps: float) -> float:
    if len(rewards) < 2:
        return 0.0
    mean = sum(rewards) / len(rewards)
    variance = sum((one - mean) ** 2 for one in rewards) / (len(rewards) - 1)  # as torch.std
    return (reward - mean) / (math.sqrt(variance) + eps) if divide else reward - mean
