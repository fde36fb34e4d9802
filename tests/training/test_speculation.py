"""Speculative escalation alone: it chooses what lazy chooses, whatever ends first, and samples nothing that is decided."""

from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_escalation_over_levels import make_turns

from hint_grpo.rollout.escalation import Discarded, Group, LevelRule, Sampled, roll_out


def tokens(turn, place, length):
    """Completions that can be told apart."""
    return [1000 * turn.index + 100 * turn.hint.level + 10 * place] * length


class Sampler:
    """Writes one token of every completion per step; `lengths[index][level][place]` are their lengths. A job's result is used
    `delay(n)` steps after its n-th completion has ended, so that completions end between a verdict and its use."""

    def __init__(self, lengths, delay=lambda number: 0, room=10**9):
        self.lengths, self.delay, self.room = lengths, delay, room
        self.written = {}
        self.stopped_at = {}

    @contextmanager
    def ready(self):
        yield

    def run(self, escalation):
        running, waiting, jobs, num_jobs, step = {}, [], [], 0, 0
        self.escalation = escalation

        def queue(turns):
            for turn in turns:
                waiting.extend((turn, place) for place in range(escalation.num_generations))

        queue(escalation.first())
        while running or waiting or jobs:
            for due, job in sorted(jobs, key=lambda job: job[0]):
                if due <= step or not (running or waiting):
                    jobs.remove((due, job))
                    orders = job.conclude(job.run())
                    for turn in orders.stop:
                        places = [place for other, place in running if other is turn]
                        escalation.stopped(turn, [running.pop((turn, place)) for place in places])
                        waiting[:] = [(other, place) for other, place in waiting if other is not turn]
                        self.stopped_at[turn.index, turn.hint.level] = step
                    queue(orders.sample)
                    jobs += [(step + self.delay(num_jobs), more) for more in orders.jobs]
            while waiting and len(running) < self.room:
                running[waiting.pop(0)] = 0
            for turn, place in list(running):
                self.look(turn)
                running[turn, place] += 1
                length = self.lengths[turn.index][turn.hint.level][place]
                if running[turn, place] == length:
                    del running[turn, place]
                    self.written[turn.index, turn.hint.level, place] = length
                    for job in escalation.finished(turn, place, Sampled(tokens(turn, place, length), None, "stop")):
                        num_jobs += 1
                        jobs.append((step + self.delay(num_jobs), job))
            step += 1

    def look(self, turn):
        """Called before each token: no decided level is sampled."""
        assert turn.hint.level <= self.escalation.enough[turn.index]


class Table:
    """Accuracies from a table, and a second reward that can be negative and is asked for whole groups only."""

    def __init__(self, right, second=None):
        self.right, self.second, self.groups = right, second or right, []

    def correct(self, accuracy):
        return accuracy

    def completion(self, turn, place, completion):
        assert completion.token_ids[0] == tokens(turn, place, 1)[0]
        return float(self.right[turn.index][turn.hint.level][place])

    def group(self, turn, completions, accuracy_G):
        self.groups.append((turn.index, turn.hint.level))
        judged = [self.completion(turn, place, completion) for place, completion in enumerate(completions)]
        assert accuracy_G in (None, judged)
        others = self.second[turn.index][turn.hint.level]
        rewards = [[accuracy, float(other)] for accuracy, other in zip(judged, others, strict=True)]
        return Group(turn, completions, [""] * len(completions), judged, rewards)


def run(schedule, sampler, table, levels, rule):
    turns = [make_turns(index, count) for index, count in enumerate(levels)]
    generations = len(table.right[0][0])
    rollouts = roll_out(turns, sampler, table, num_generations=generations, schedule=schedule, rule=rule)
    for rollout in rollouts:
        for level, group in rollout.groups.items():
            assert group.turn.hint.level == level
            assert len(group.completions) == generations
    return rollouts


def results(rollouts):
    return [
        (r.chosen, {level: (g.completions, g.accuracy_G, g.rewards_GF) for level, g in r.groups.items()})
        for r in rollouts
    ]


# Two prompts and three completions. Prompt 0 is solved at level 1 by its middle completion, prompt 1 at level 0 by its last.
RIGHT = [[[0, 0, 0], [0, 1, 0], [1, 1, 1]], [[0, 0, 1], [1, 1, 1], [1, 1, 1]]]


def test_higher_levels_stop_at_the_first_right_completion_and_its_group_is_completed():
    lengths = [[[5, 5, 9], [20, 3, 20], [4, 30, 30]], [[40, 40, 7], [5, 50, 50], [50, 50, 50]]]
    sampler, table = Sampler(lengths), Table(RIGHT)
    first, second = run("speculative", sampler, table, [3, 3], LevelRule.named("accuracy", [1.0, 1.0]))
    assert (first.chosen, sorted(first.groups)) == (1, [0, 1])
    assert (second.chosen, sorted(second.groups)) == (0, [0])
    # Level 1 of the first prompt is enough after 3 tokens. Level 2 had three completions of 3 tokens then.
    assert first.discarded == {2: Discarded(3, 9)}
    # The second prompt: level 1 is enough after 5 tokens, which stops level 2; level 0 after 7, which stops level 1 too.
    assert second.discarded == {1: Discarded(3, 5 + 7 + 7), 2: Discarded(3, 15)}
    assert [completion.token_ids[0] for completion in first.group.completions] == [100, 110, 120]
    assert sorted(table.groups) == [(0, 0), (0, 1), (1, 0)]


def test_a_completion_that_ends_before_the_verdict_is_used_is_thrown_away_too():
    """The verdict on level 0 is used 4 tokens later; level 1 ends meanwhile, and its group is not scored."""
    sampler, table = Sampler([[[2, 2], [3, 3]]], delay=lambda number: 4), Table([[[1, 0], [1, 1]]])
    (rollout,) = run("speculative", sampler, table, [2], LevelRule.named("accuracy", [1.0, 1.0]))
    assert (rollout.chosen, rollout.discarded) == (0, {1: Discarded(2, 6)})
    assert table.groups == [(0, 0)]


def test_what_vllm_has_not_begun_is_not_counted():
    """There is room for one group at a time: the higher level waits, and is never begun."""
    sampler = Sampler([[[2, 9], [9, 9]]], room=2)
    (rollout,) = run("speculative", sampler, Table([[[1, 0], [1, 1]]]), [2], LevelRule.named("accuracy", [1.0, 1.0]))
    assert (rollout.chosen, rollout.discarded) == (0, {})
    assert sampler.written == {(0, 0, 0): 2, (0, 0, 1): 9}


def test_a_sum_of_rewards_is_known_when_the_group_is_complete():
    """The first completion earns 1, the last takes it away again: the level above must not be stopped in between."""
    second = [[[1, 0, -1], [0, 0, 1]]]
    lengths = [[[2, 3, 8], [4, 4, 12]]]
    rule = LevelRule.named("summed_rewards", [0.0, 1.0])
    sampler = Sampler(lengths)
    (rollout,) = run("speculative", sampler, Table([[[0, 0, 0], [0, 0, 0]]], second), [2], rule)
    assert (rollout.chosen, rollout.discarded, sampler.stopped_at) == (1, {}, {})
    # With a sum above 0 at level 0 the higher level is stopped once level 0 is complete.
    second[0][0][2] = 1
    sampler = Sampler(lengths)
    (rollout,) = run("speculative", sampler, Table([[[0, 0, 0], [0, 0, 0]]], second), [2], rule)
    assert (rollout.chosen, rollout.discarded) == (0, {1: Discarded(3, 4 + 4 + 8)})


@st.composite
def cases(draw):
    prompts, generations = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    levels = draw(st.lists(st.integers(1, 4), min_size=prompts, max_size=prompts))

    def table(values):
        return [[[draw(values) for _ in range(generations)] for _ in range(count)] for count in levels]

    right = table(st.sampled_from([0, 0, 0, 1]))
    second = table(st.integers(-2, 2))
    lengths = table(st.integers(1, 12))
    delays = draw(st.lists(st.integers(0, 5), min_size=1, max_size=8))
    room = draw(st.sampled_from([1, 3, 10**9]))
    rule = draw(st.sampled_from(["accuracy", "summed_rewards"]))
    return levels, right, second, lengths, delays, room, LevelRule.named(rule, [1.0, 0.5])


@settings(max_examples=400, deadline=None)
@given(cases())
def test_speculative_chooses_what_lazy_chooses(case):
    levels, right, second, lengths, delays, room, rule = case

    def sampler():
        return Sampler(lengths, lambda number: delays[number % len(delays)], room)

    lazy = run("lazy", sampler(), Table(right, second), levels, rule)
    speculating = sampler()
    speculative = run("speculative", speculating, Table(right, second), levels, rule)
    eager = run("eager", sampler(), Table(right, second), levels, rule)
    assert results(speculative) == results(lazy)
    assert [rollout.chosen for rollout in eager] == [rollout.chosen for rollout in lazy]
    assert not any(rollout.discarded for rollout in lazy + eager)
    for index, rollout in enumerate(speculative):
        # Thrown away are levels above the chosen one, and no more of them than there was.
        assert all(level > rollout.chosen and level not in rollout.groups for level in rollout.discarded)
        for level, discarded in rollout.discarded.items():
            assert 0 < discarded.num_completions <= len(right[0][0])
            assert discarded.num_completions <= discarded.num_tokens <= sum(lengths[index][level])


@pytest.mark.parametrize("schedule", ["lazy", "eager", "speculative"])
def test_a_backend_that_forgets_a_turn_is_noticed(schedule):
    class Forgetful(Sampler):
        def run(self, escalation):
            escalation.first()

    with pytest.raises(KeyError):
        run(schedule, Forgetful([[[1]]]), Table([[[0]]]), [1], LevelRule.named("accuracy", [1.0, 1.0]))
