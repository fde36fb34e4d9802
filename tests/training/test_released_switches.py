"""The released code's choices as the trainer makes them: which level is trained on, and which levels are sampled."""

import pytest
from batches import batch_for, correct_from


def half(completions, **_):
    """A reward that is never a whole point, as a format reward's share is."""
    return [0.5] + [0.0] * (len(completions) - 1)


@pytest.mark.parametrize(("rule", "level"), [("accuracy", 1), ("summed_rewards", 0)])
def test_level_rule(make_trainer, samples, rule, level):
    trainer = make_trainer(accuracy=correct_from(len("<think>") + 1), samples=samples, level_rule=rule)
    trainer.scorer.rewards = [half]
    batch_for(trainer, samples[:2])
    assert [rollout.chosen for rollout in trainer.batch.rollouts] == [level, level]
    assert [sorted(rollout.groups) for rollout in trainer.batch.rollouts] == [list(range(level + 1))] * 2


def test_equal_hints_are_sampled_with_their_own_seed(make_trainer, samples):
    rows = [{**row, "reasoning_steps": row["reasoning_steps"][:1]} for row in samples[:2]]
    trainer = make_trainer(accuracy=correct_from(10_000), samples=rows, num_groups=2, equal_hints="sample")
    batch_for(trainer, rows)
    for rollout in trainer.batch.rollouts:
        below, above = rollout.groups[0].turn, rollout.groups[1].turn
        assert below.begun == above.begun == "<think>"
        assert below.seed != above.seed
    trainer = make_trainer(accuracy=correct_from(10_000), samples=rows, num_groups=2)
    batch_for(trainer, rows)
    assert [sorted(rollout.groups) for rollout in trainer.batch.rollouts] == [[0], [0]]


def test_hint_counts():
    from hint_grpo.training.config import HintGRPOConfig

    counts = {
        kind: HintGRPOConfig(num_groups=10, hint_counts=kind, use_cpu=True, bf16=False).policy.count(90, 7)
        for kind in ("exact", "float")
    }
    assert counts == {"exact": 63, "float": 62}
