"""The escalation alone, with a backend that plays back a script: which turns are asked for, and which group is chosen."""

from contextlib import contextmanager

import pytest

from hint_grpo.hints import HintLevel
from hint_grpo.rollout.escalation import (
    EncodedPrompt,
    Group,
    LevelRule,
    Sampled,
    Turn,
    roll_out,
    turn_seed,
)
from hint_grpo.rollout.scorer import GroupScorer

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

    def run(self, escalation):
        assert self.open
        waiting = escalation.first()
        self.asked += waiting
        while waiting:
            turn = waiting.pop(self.pick)
            jobs = []
            for place in range(escalation.num_generations):
                jobs += escalation.finished(turn, place, Sampled([7], None, "stop"))
            while jobs:
                job = jobs.pop(0)
                orders = job.conclude(job.run())
                jobs += orders.jobs
                self.asked += orders.sample
                waiting += orders.sample
                waiting = [turn for turn in waiting if turn not in orders.stop]


class Judge:
    """`solved_at[index]`: the lowest level at which this prompt has a correct completion; None for never."""

    def __init__(self, solved_at, num_generations=4):
        self.solved_at, self.num_generations = solved_at, num_generations

    def correct(self, accuracy):
        return accuracy

    def completion(self, turn, place, completion):
        level = self.solved_at[turn.index]
        return float(level is not None and turn.hint.level >= level and place == self.num_generations - 1)

    def group(self, turn, completions, accuracy_G):
        judged = [self.completion(turn, place, completion) for place, completion in enumerate(completions)]
        assert accuracy_G in (None, judged)
        return Group(turn, completions, [""] * len(completions), judged, [[value] for value in judged])


@pytest.mark.parametrize("pick", [0, -1], ids=["in order", "last first"])
def test_lazy_samples_only_what_is_needed(pick):
    backend = Scripted(pick)
    turns = [make_turns(index, 3) for index in range(4)]
    rollouts = roll_out(turns, backend, Judge([0, 1, 2, None]), num_generations=4, schedule="lazy")
    assert [rollout.chosen for rollout in rollouts] == [0, 1, 2, 0]
    assert [sorted(rollout.groups) for rollout in rollouts] == [[0], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert len(backend.asked) == 1 + 2 + 3 + 3
    assert not any(rollout.discarded for rollout in rollouts)
    # every completion met its own prompt
    for index, rollout in enumerate(rollouts):
        assert all(group.turn.index == index for group in rollout.groups.values())
        assert all(group.turn.hint.level == level for level, group in rollout.groups.items())


def test_eager_samples_every_level_and_chooses_the_same():
    backend = Scripted()
    turns = [make_turns(index, 3) for index in range(4)]
    rollouts = roll_out(turns, backend, Judge([0, 1, 2, None]), num_generations=4, schedule="eager")
    assert [rollout.chosen for rollout in rollouts] == [0, 1, 2, 0]
    assert len(backend.asked) == 12
    assert [len(rollout.groups) for rollout in rollouts] == [3, 3, 3, 3]


def test_prompts_with_fewer_levels():
    turns = [make_turns(0, 1), make_turns(1, 3)]
    rollouts = roll_out(turns, Scripted(), Judge([None, 2], 2), num_generations=2, schedule="lazy")
    assert [sorted(rollout.groups) for rollout in rollouts] == [[0], [0, 1, 2]]


def test_seed_depends_on_run_step_sample_and_level_alone():
    seeds = {
        turn_seed(run, step, sample, level) for run in (1, 2) for step in (1, 2) for sample in "ab" for level in (0, 1)
    }
    assert len(seeds) == 16
    assert turn_seed(42, 7, "a", 1) == turn_seed(42, 7, "a", 1)
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("schedule", ["lazy", "eager", "speculative"])
def test_summed_rewards_stop_at_any_reward(schedule):
    """Level 1 earns the format reward alone, level 2 is correct: the released rule stops at 1, the paper's goes on to 2."""

    class TwoRewards:
        rows = {0: [[0.0, 0.0]] * 2, 1: [[0.0, 1.0], [0.0, 0.0]], 2: [[1.0, 0.0], [0.0, 0.0]]}

        def correct(self, accuracy):
            return accuracy

        def completion(self, turn, place, completion):
            return self.rows[turn.hint.level][place][0]

        def group(self, turn, completions, accuracy_G):
            rows = self.rows[turn.hint.level]
            return Group(turn, completions, ["", ""], [accuracy for accuracy, _ in rows], rows)

    def chosen(rule):
        (rollout,) = roll_out(
            [make_turns(0, 3)], Scripted(), TwoRewards(), num_generations=2, schedule=schedule, rule=rule
        )
        return rollout.chosen, len(rollout.groups)

    assert chosen(LevelRule.named("summed_rewards", [1.0, 1.0])) == (1, 3 if schedule == "eager" else 2)
    assert chosen(LevelRule.named("accuracy", [1.0, 1.0])) == (2, 3)
    assert chosen(LevelRule.named("summed_rewards", [1.0, 0.0])) == (2, 3)  # a reward of weight 0 does not count


@pytest.mark.parametrize("trained_on", ["accuracy", "format"])
@pytest.mark.parametrize("schedule", ["lazy", "speculative"])
def test_every_completion_is_scored_once_by_every_function(schedule, trained_on):
    """Speculative: accuracy by completion, other functions by group; what a function is given is the same otherwise."""
    calls = {"accuracy": [], "format": []}

    def accuracy(completions, begun, solution, **columns):
        assert len(completions) == len(begun) == len(solution)
        calls["accuracy"].append(len(completions))
        return [float(text == answer) for text, answer in zip(completions, solution, strict=True)]

    def format(completions, **columns):
        calls["format"].append(len(completions))
        return [float(index) for index in range(len(completions))]

    scorer = GroupScorer([{"accuracy": accuracy, "format": format}[trained_on]], accuracy, "".join)

    class OneRow:
        def correct(self, accuracy):
            return accuracy

        def completion(self, turn, place, completion):
            return scorer.accuracy_of({"solution": "7"}, turn, place, completion)

        def group(self, turn, completions, accuracy_G):
            return scorer({"solution": "7"}, turn, completions, accuracy_G)

    class Texts(Scripted):
        def run(self, escalation):
            finished = escalation.finished
            escalation.finished = lambda turn, place, _: finished(
                turn, place, Sampled(["7" if (turn.hint.level, place) == (1, 2) else "1"], None, "stop")
            )
            super().run(escalation)

    (rollout,) = roll_out([make_turns(0, 2)], Texts(), OneRow(), num_generations=3, schedule=schedule)
    assert (rollout.chosen, rollout.group.accuracy_G) == (1, [0.0, 0.0, 1.0])
    assert calls["accuracy"] == ([3, 3] if schedule == "lazy" else [1] * 6)
    assert calls["format"] == ([3, 3] if trained_on == "format" else [])
