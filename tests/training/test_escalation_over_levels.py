"""The escalation alone, with a backend that plays back a script: which turns are asked for, and which group is chosen."""

from contextlib import contextmanager

import pytest

from hint_grpo.hints import HintLevel
from hint_grpo.rollout.escalation import EncodedPrompt, Group, LevelRule, Sampled, Turn, roll_out, turn_seed

PROMPT = EncodedPrompt(messages=[], ids=[1], short_ids=[1], image=None, image_inputs={}, sampler_image=None)


def make_turns(index, num_levels):
    return [Turn(index, HintLevel(level, level, ""), PROMPT, "", [], 0, 0) for level in range(num_levels)]


class Scripted:
    """Finishes turns in the order given by `pick`, and keeps what was asked."""

    def __init__(self, pick=0):
        self.pick, self.asked, self.open = pick, [], False

    @contextmanager
    def ready(self):
        self.open = True
        yield
        self.open = False

    def run(self, turns, num_generations, on_group):
        assert self.open
        waiting = list(turns)
        self.asked += waiting
        while waiting:
            turn = waiting.pop(self.pick)
            more = list(on_group(turn, [Sampled([7], None, "stop")] * num_generations))
            self.asked += more
            waiting += more


def judge_by(solved_at):
    """`solved_at[index]`: the lowest level at which this prompt has a correct completion; None for never."""

    def judge(turn, completions):
        level = solved_at[turn.index]
        right = level is not None and turn.hint.level >= level
        accuracy = [0.0] * (len(completions) - 1) + [float(right)]
        return Group(turn, completions, [""] * len(completions), accuracy, [[value] for value in accuracy])

    return judge


@pytest.mark.parametrize("pick", [0, -1], ids=["in order", "last first"])
def test_lazy_samples_only_what_is_needed(pick):
    backend = Scripted(pick)
    turns = [make_turns(index, 3) for index in range(4)]
    rollouts = roll_out(turns, backend, judge_by([0, 1, 2, None]), num_generations=4, lazy=True)
    assert [rollout.chosen for rollout in rollouts] == [0, 1, 2, 0]
    assert [sorted(rollout.groups) for rollout in rollouts] == [[0], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert len(backend.asked) == 1 + 2 + 3 + 3
    # every completion met its own prompt
    for index, rollout in enumerate(rollouts):
        assert all(group.turn.index == index for group in rollout.groups.values())
        assert all(group.turn.hint.level == level for level, group in rollout.groups.items())


def test_eager_samples_every_level_and_chooses_the_same():
    backend = Scripted()
    turns = [make_turns(index, 3) for index in range(4)]
    rollouts = roll_out(turns, backend, judge_by([0, 1, 2, None]), num_generations=4, lazy=False)
    assert [rollout.chosen for rollout in rollouts] == [0, 1, 2, 0]
    assert len(backend.asked) == 12


def test_prompts_with_fewer_levels():
    turns = [make_turns(0, 1), make_turns(1, 3)]
    rollouts = roll_out(turns, Scripted(), judge_by([None, 2]), num_generations=2, lazy=True)
    assert [sorted(rollout.groups) for rollout in rollouts] == [[0], [0, 1, 2]]


def test_seed_depends_on_run_step_sample_and_level_alone():
    seeds = {
        turn_seed(run, step, sample, level) for run in (1, 2) for step in (1, 2) for sample in "ab" for level in (0, 1)
    }
    assert len(seeds) == 16
    assert turn_seed(42, 7, "a", 1) == turn_seed(42, 7, "a", 1)
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "eager"])
def test_summed_rewards_stop_at_any_reward(lazy):
    """Level 1 earns the format reward alone, level 2 is correct: the released rule stops at 1, the paper's goes on to 2."""

    def judge(turn, completions):
        rows = {0: [[0.0, 0.0]] * 2, 1: [[0.0, 1.0], [0.0, 0.0]], 2: [[1.0, 0.0], [0.0, 0.0]]}[turn.hint.level]
        return Group(turn, completions, ["", ""], [accuracy for accuracy, _ in rows], rows)

    def chosen(rule):
        (rollout,) = roll_out([make_turns(0, 3)], Scripted(), judge, num_generations=2, lazy=lazy, rule=rule)
        return rollout.chosen, len(rollout.groups)

    assert chosen(LevelRule.named("summed_rewards", [1.0, 1.0])) == (1, 2 if lazy else 3)
    assert chosen(LevelRule.named("accuracy", [1.0, 1.0])) == (2, 3)
    assert chosen(LevelRule.named("summed_rewards", [1.0, 0.0])) == (2, 3)  # a reward of weight 0 does not count
