"""The paper's policies: the same levels as ever; and what every policy is given and must return."""

import math

import pytest

from hint_grpo.hints import HintLevel
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.base import (
    FunctionPolicy,
    HintedSample,
    HintPolicy,
    floor_steps,
    levels_of,
    round_steps,
    sizes_of,
)
from hint_grpo.policies.history import NOTHING, History, Memory, Tried, Visit
from hint_grpo.policies.paper import Adaptive, Fixed, NoHints, Random
from hint_grpo.policies.registry import LITERATURE, make_policy, try_policy

STEPS = ("One.", "Two.", "Three.", "Four.", "Five.")
NINE = [f"s{place}" for place in range(9)]


def levels(policy, steps, key="", progress=0.0, history=NOTHING):
    return levels_of(policy, HintedSample("a", steps, key), progress, history)


def counts(policy, steps, **given):
    return [(level.level, level.num_steps) for level in levels(policy, steps, **given)]


# --- the paper's, as before they became classes (numbers of commit 1d5ed13) ---


def test_adaptive_levels_of_a_sample():
    assert [(level.level, level.num_steps, level.text) for level in levels(Adaptive(3), STEPS)] == [
        (0, 0, ""),
        (1, 1, "One."),
        (2, 3, "One. Two. Three."),
    ]


@pytest.mark.parametrize(
    ("num_steps", "by_levels"),
    [
        (0, [[(0, 0)], [(0, 0)], [(0, 0)], [(0, 0)]]),
        (1, [[(0, 0)], [(0, 0)], [(0, 0)], [(0, 0)]]),
        (2, [[(0, 0)], [(0, 0), (1, 1)], [(0, 0), (2, 1)], [(0, 0), (2, 1)]]),
        (3, [[(0, 0)], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)], [(0, 0), (2, 1), (3, 2)]]),
        (7, [[(0, 0)], [(0, 0), (1, 3)], [(0, 0), (1, 2), (2, 4)], [(0, 0), (1, 1), (2, 3), (3, 5)]]),
    ],
)
def test_adaptive_levels_of_every_length(num_steps, by_levels):
    assert [counts(Adaptive(num_levels), NINE[:num_steps]) for num_levels in (1, 2, 3, 4)] == by_levels


def test_equal_hints_may_be_sampled_at_every_level():
    assert counts(Adaptive(3, equal_hints="sample"), ("A.", "B.")) == [(0, 0), (1, 0), (2, 1)]
    assert len(levels(Adaptive(2, equal_hints="sample"), ())) == 2


def test_counts_in_floats():
    assert levels(Adaptive(10, counts="float"), ["A."] * 90)[7].num_steps == 62  # 90 * 0.7 is 62.99999999999999
    assert levels(Adaptive(10), ["A."] * 90)[7].num_steps == 63


def test_fixed_and_none():
    assert [counts(Fixed(0.29), NINE[:length])[0][1] for length in range(10)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [level.text for level in levels(Fixed(0.5), STEPS)] == ["One. Two."]
    assert levels(NoHints(), STEPS) == (HintLevel(0, 0, ""),)


def test_random_ratios_follow_from_run_step_and_sample():
    keys = [f"42/{step}/geo#{step}" for step in range(1, 13)]
    assert [counts(Random(), NINE, key=key) for key in keys] == [
        [(0, count)] for count in (8, 0, 5, 2, 5, 8, 2, 0, 5, 8, 3, 6)
    ]


def test_the_longest_hint_of_each_policy():
    steps = ["a", "b", "c", "d"]

    def texts(policy, steps=steps):
        return [level.text for level in policy.longest_levels(steps)]

    assert texts(Adaptive(3)) == ["", "a", "a b"]
    assert texts(Adaptive(3), ["a"]) == [""]
    assert texts(Fixed(0.5)) == ["a b"]
    assert texts(Random()) == ["a b c"]
    assert texts(NoHints()) == [""]
    assert texts(make_policy("ghpo")) == ["", "a", "a b", "a b c"]
    assert texts(make_policy("questa")) == ["a b"]
    for name in ("uft", "g2rpo_a", "seele", "trapo"):
        assert texts(make_policy(name)) == ["", "a b c d"]
        assert texts(make_policy(name), []) == [""]
    assert not Adaptive(3).gives_hints(1)
    assert not NoHints().gives_hints(9)
    assert make_policy("uft").gives_hints(1)


def test_names_make_policies():
    assert make_policy("adaptive", num_levels=4, counts="float", equal_hints="sample") == Adaptive(4, "float", "sample")
    assert make_policy("fixed", ratio=0.5) == Fixed(0.5)
    assert (make_policy("random"), make_policy("none")) == (Random(), NoHints())
    assert make_policy("uft", arguments={"until": 0.5}).until == 0.5
    with pytest.raises(UserError, match="--hint_policy often is not known: use one of adaptive, fixed"):
        make_policy("often")


def test_every_policy_of_the_literature_has_whole_levels_at_every_moment():
    for name in LITERATURE:
        policy = make_policy(name)
        for num_steps in range(7):
            for progress in (0.0, 0.3, 0.7, 0.99):
                for level in levels(policy, NINE[:num_steps], progress=progress, key=f"{name}{progress}"):
                    assert 0 <= level.num_steps <= num_steps
        assert sizes_of(policy, 8) is None or sum(sizes_of(policy, 8)) == 8


# --- what a policy may return ---


def test_numbers_become_levels_and_repeats_are_left_out():
    policy = FunctionPolicy(lambda sample, progress, history: [0, 0, 2, 2, 5])
    assert counts(policy, STEPS) == [(0, 0), (1, 2), (2, 5)]
    assert levels(policy, STEPS)[1].text == "One. Two."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "it gives ..: give a list of numbers of steps"),
        (3, "it gives 3: give a list"),
        ([6], "it gives 6: give whole numbers from 0 to 5"),
        ([0.5], "it gives 0.5: give whole numbers"),
        ([2, 1], "it gives .2, 1.: give the lowest number of steps first"),
    ],
)
def test_other_results_are_the_users_mistake(given, message):
    def rising(sample, progress, history):
        return given

    with pytest.raises(UserError, match=f"--hint_policy rising: {message}"):
        levels(FunctionPolicy(rising), STEPS)


def test_a_policy_is_tried_at_several_moments():
    seen = []

    def moments(sample, progress, history):
        seen.append((sample.columns["difficulty"], progress, history))
        return [1 // int(progress < 0.9)]

    with pytest.raises(UserError, match=r"fails on the first sample: test_policies.py:\d+: ZeroDivisionError"):
        try_policy(FunctionPolicy(moments), STEPS, {"difficulty": 3}, 4)
    assert seen == [(3, 0.0, NOTHING), (3, 0.5, NOTHING), (3, 0.999, NOTHING)]


def test_sizes_must_add_up():
    class Halves(HintPolicy):
        def sizes(self, num_generations):
            return num_generations // 2, num_generations // 2

    assert sizes_of(Halves(), 4) == (2, 2)
    with pytest.raises(UserError, match="Halves: it splits --num_generations 5 into 2, 2"):
        sizes_of(Halves(), 5)


def test_arithmetic_is_exact():
    assert (floor_steps(100, 0.29), floor_steps(5, 1.0)) == (29, 5)
    assert [round_steps(length, 0.25) for length in (1, 2, 3, 4, 6)] == [0, 0, 1, 1, 2]  # .25 .5 .75 1 1.5


# --- history ---


def record(step, id, steps_by_level, accuracy, level="0", mixed=False):
    return {
        "step": step,
        "id": id,
        "level": int(level),
        "hint_steps": steps_by_level[level],
        "steps_by_level": steps_by_level,
        "accuracy": accuracy,
        "mixed": mixed,
    }


def test_history_is_what_the_ledger_says():
    memory = Memory()
    nan = math.nan
    memory.add(
        [
            record(1, "a", {"0": 0, "1": 2}, {"0": [0.0, 0.0], "1": [1.0, 0.0]}, level="1"),
            record(1, "b", {"0": 0}, {"0": [1.0, nan]}),
        ]
    )
    memory.add([record(1, "c", {"0": 0}, {"0": [0.0, 0.0]})])  # a second batch of the same step
    memory.add([record(3, "a", {"0": 0, "1": 3}, {"0": [1.0], "1": [0.0]}, mixed=True)])
    history = memory.of("a", (Tried(1, (1.0,)),))
    assert history.visits == [
        Visit(1, (Tried(0, (0.0, 0.0)), Tried(2, (1.0, 0.0)))),
        Visit(3, (Tried(0, (1.0,)), Tried(3, (0.0,)))),
    ]
    # step 1: level 1 of a (1, 0), b (1), c (0, 0): 2 of 5. step 3: both rounds of a: 1 of 2
    assert history.accuracies == [0.4, 0.5]
    assert history.group == (Tried(1, (1.0,)),)
    assert memory.of("d") == History((), [0.4, 0.5], ())
    assert (Tried(1, (1.0, 0.0, nan, 1.0)).num_correct, Tried(1, (1.0, 0.0, nan, 1.0)).share_correct) == (2, 0.5)


def test_a_ledger_of_an_earlier_version_has_only_the_level_trained_on():
    old = record(1, "a", {"0": 0, "1": 2}, {"0": [0.0], "1": [1.0]}, level="1")
    del old["steps_by_level"], old["mixed"]
    memory = Memory()
    memory.add([old])
    assert memory.of("a").visits == [Visit(1, (Tried(2, (1.0,)),))]
