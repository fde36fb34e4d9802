"""Hint policies in the trainer: mixed groups, the highest level for unsolved prompts, new prompts for useless ones, history."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch
from batches import batch_for, correct_from

from hint_grpo.hints import HintLevel
from hint_grpo.policies.base import FunctionPolicy
from hint_grpo.policies.ghpo import GHPO
from hint_grpo.policies.history import Tried, Visit
from hint_grpo.policies.paper import Adaptive, NoHints
from hint_grpo.policies.trapo import TRAPO
from hint_grpo.rollout.escalation import EncodedPrompt, Group, LevelRule, Rollout, Sampled, Turn
from hint_grpo.rollout.mixed import roll_out_mixed, separate_advantages
from hint_grpo.rollout.redraw import fresh_rows, until_useful
from hint_grpo.training import ledger, rollout_log


@pytest.fixture(scope="module")
def trainer(make_trainer, samples):
    return make_trainer(samples=samples)


@pytest.fixture
def use(trainer):
    """use(policy, accuracy, **args): the trainer with these; it is as before after the test."""
    builder, scorer, args = trainer.turn_builder, trainer.scorer, vars(trainer.args).copy()
    rule = trainer.level_rule
    trainer.ledger_path.unlink(missing_ok=True)

    def use(policy, accuracy, **changes):
        trainer.turn_builder = replace(builder, policy=policy, memory=type(builder.memory)())
        trainer.scorer = replace(scorer, accuracy=accuracy, rewards=[accuracy])
        trainer.level_rule = replace(rule, unsolved=policy.unsolved)
        vars(trainer.args).update(changes)
        trainer._metrics["train"].clear()
        return trainer

    yield use
    trainer.turn_builder, trainer.scorer, trainer.level_rule = builder, scorer, rule
    vars(trainer.args).update(args)


def mixes(sizes, steps_by_round):
    """A policy with these rounds, whose hints are fixed in advance."""

    class Mixes:
        def sizes(self, num_generations):
            return sizes

        def levels(self, sample, progress, history):
            return [steps_by_round[len(history.group)]]

    return FunctionPolicy(Mixes())


# --- mixed groups ---


def test_a_mixed_group_is_trained_on_as_one(use, samples):
    trainer = use(mixes((2, 1, 1), (0, 2, 1)), correct_from(10))  # place 0 of each hinted round is correct
    batch = batch_for(trainer, samples[:2])
    mask = batch["completion_mask"] * batch["tool_mask"]
    row = 0
    for place, rollout in enumerate(trainer.batch.rollouts):
        assert rollout.mixed
        assert [len(group.completions) for group in rollout.groups.values()] == [2, 1, 1]
        for group, num_steps in zip(rollout.groups.values(), (0, 2, 1), strict=True):
            hint = " ".join(samples[place]["reasoning_steps"][:num_steps])
            assert group.turn.begun == "<think>" + hint
            for completion in group.completions:
                begun, sampled = len(group.turn.begun_ids), len(completion.token_ids)
                assert batch["completion_ids"][row, :begun].tolist() == group.turn.begun_ids
                assert batch["completion_ids"][row, begun : begun + sampled].tolist() == completion.token_ids
                assert mask[row].sum() == sampled
                assert mask[row, :begun].sum() == 0
                row += 1
    assert row == 8
    # rewards 0, 0, 1, 1 of one group: mean 1/2, std sqrt(1/3)
    expected = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    assert batch["advantages"].tolist() == pytest.approx([-expected, -expected, expected, expected] * 2, abs=1e-4)
    seeds = {group.turn.seed for rollout in trainer.batch.rollouts for group in rollout.groups.values()}
    assert len(seeds) == 6


def test_ledger_and_rollouts_of_a_mixed_group(use, samples, tmp_path):
    trainer = use(mixes((2, 1, 1), (0, 2, 1)), correct_from(10))
    trainer.rollout_log = rollout_log.RolloutLog(tmp_path / "rollouts", "trained", 10**6)
    advantages = batch_for(trainer, samples[:1])["advantages"].tolist()
    (record,) = ledger.read(trainer.ledger_path)
    assert (record["mixed"], record["level"], record["valid"]) == (True, 1, True)
    assert record["steps_by_level"] == {"0": 0, "1": 2, "2": 1}
    assert record["accuracy"] == {"0": [0.0, 0.0], "1": [1.0], "2": [1.0]}
    assert record["hint_steps"] == 0.75  # (0 + 0 + 2 + 1) / 4
    turns = [group.turn for group in trainer.batch.rollouts[0].groups.values()]
    assert record["hint_tokens"] == (turns[1].hint_tokens + turns[2].hint_tokens) / 4
    metrics = ledger.metrics([record], 1)
    assert (metrics["hint/data_utilization"], metrics["hint/data_utilization_level0"]) == (1.0, 0.0)
    assert metrics["hint/reward_level_2"] == 1.0
    rows = list(rollout_log.read(tmp_path / "rollouts"))
    assert [(row["level"], row["place"], row["trained"], row["accuracy"]) for row in rows] == [
        (0, 0, True, 0.0),
        (0, 1, True, 0.0),
        (1, 0, True, 1.0),
        (2, 0, True, 1.0),
    ]
    assert [row["advantage"] for row in rows] == advantages


def test_a_round_sees_what_the_earlier_ones_gave(use, samples):
    row = samples[0]
    trainer = use(TRAPO(), lambda completions, **_: [0.0] * len(completions))
    batch_for(trainer, [row])
    (record,) = ledger.read(trainer.ledger_path)
    num_steps = len(row["reasoning_steps"])
    # 1, 1, 1, 1 completions, all wrong: 0, 25, 50 and 100 %
    assert record["steps_by_level"] == {"0": 0, "1": num_steps // 4, "2": num_steps // 2, "3": num_steps}
    assert (record["valid"], record["level"], ledger.never_correct(record)) == (False, 0, True)
    trainer.ledger_path.unlink()
    use(TRAPO(), lambda completions, **_: [1.0] * len(completions))
    batch_for(trainer, [row])
    assert next(ledger.read(trainer.ledger_path))["steps_by_level"] == {"0": 0, "1": 0, "2": 0, "3": 0}


def test_a_hint_that_does_not_fit_is_left_out_of_its_round(use, samples):
    trainer = use(mixes((3, 1), (0, 4)), correct_from(0))
    builder = trainer.turn_builder
    (first,), _ = builder.turns({**samples[0], "row": 0}, index=0, step=1)
    longest = len(first.prompt.ids) + len(first.begun_ids) + trainer.args.max_completion_length
    trainer.turn_builder = replace(builder, limits=replace(builder.limits, context_length=longest))
    batch_for(trainer, samples[:1])
    (record,) = ledger.read(trainer.ledger_path)
    assert record["steps_by_level"] == {"0": 0, "1": 0}


def group_of(num_steps, rewards):
    prompt = EncodedPrompt([], [1], [1], None, {}, None)
    turn = Turn(0, HintLevel(0, num_steps, ""), prompt, "", [], 0, 0)
    return Group(
        turn, [Sampled([1], None, "stop")] * len(rewards), [""] * len(rewards), rewards, [[r] for r in rewards]
    )


def test_separate_statistics_compare_equal_hints():
    # without a hint: 0, 1, 0 (rounds 0 and 2): mean 1/3; with 2 steps: 1, 1 and one without a reward; one alone with 3 steps
    rounds = {
        0: group_of(0, [0.0, 1.0]),
        1: group_of(2, [1.0, 1.0, math.nan]),
        2: group_of(0, [0.0]),
        3: group_of(3, [1.0]),
    }
    found = separate_advantages([Rollout(rounds, mixed=True)], [1.0], divide=False)
    assert found == pytest.approx([-1 / 3, 2 / 3, 0.0, 0.0, 0.0, -1 / 3, 0.0])
    # std of 0, 1, 0 is sqrt(1/3)
    found = separate_advantages([Rollout(rounds, mixed=True)], [2.0], divide=True)
    std = 2 * math.sqrt(1 / 3) + 1e-4
    assert found == pytest.approx([-2 / 3 / std, 4 / 3 / std, 0.0, 0.0, 0.0, -2 / 3 / std, 0.0])


def test_separate_statistics_in_training(use, samples):
    def accuracy(completions, begun, **_):  # unhinted: 0, 1; hinted: 1, 1
        return [float(len(text) > 10 or place == 1) for place, text in enumerate(begun)]

    trainer = use(mixes((2, 2), (0, 2)), accuracy, group_statistics="separate")
    batch = batch_for(trainer, samples[:1])
    expected = 0.5 / (math.sqrt(0.5) + 1e-4)
    assert batch["advantages"].tolist() == pytest.approx([-expected, expected, 0.0, 0.0], abs=1e-4)
    use(mixes((2, 2), (0, 2)), accuracy, group_statistics="one")
    batch = batch_for(trainer, samples[:1])
    one = math.sqrt(0.25) + 1e-4  # 0, 1, 1, 1: mean 3/4, std 1/2
    assert batch["advantages"].tolist() == pytest.approx([-0.75 / one] + [0.25 / one] * 3, abs=1e-4)


def test_every_rank_samples_every_round_even_without_prompts():
    class Recording:
        def __init__(self):
            self.sizes = []

        def ready(self):
            return contextlib.nullcontext()

        def run(self, escalation):
            assert escalation.first() == []
            self.sizes.append(escalation.num_generations)

    backend = Recording()
    assert roll_out_mixed([], (2, 1, 1), backend, None, None) == []
    assert backend.sizes == [2, 1, 1]


# --- levels ---


def test_an_unsolved_prompt_keeps_its_highest_level_under_ghpo(use, samples):
    trainer = use(GHPO(), lambda completions, **_: [0.0] * len(completions))
    batch_for(trainer, samples[:1])
    (record,) = ledger.read(trainer.ledger_path)
    num_levels = len(record["steps_by_level"])
    assert num_levels >= 3
    assert record["level"] == num_levels - 1
    rule = LevelRule.named("accuracy", [1.0])
    groups = {0: group_of(0, [0.0]), 2: group_of(1, [1.0]), 3: group_of(2, [0.0])}
    assert (rule.choose(groups), replace(rule, unsolved="highest").choose(groups)) == (2, 2)
    del groups[2]
    assert (rule.choose(groups), replace(rule, unsolved="highest").choose(groups)) == (0, 3)


def test_progress_is_the_share_done_before_the_step(use, samples):
    seen = []

    def noting(sample, progress, history):
        seen.append((sample.id, progress, sample.columns["question"]))
        return [0]

    trainer = use(FunctionPolicy(noting), correct_from(0), max_steps=8)
    assert [trainer.progress(step) for step in (0, 1, 2, 8, 9)] == [0.0, 0.0, 0.125, 0.875, 1.0]
    batch_for(trainer, samples[:1])
    assert seen == [(samples[0]["id"], 0.0, samples[0]["question"])]


# --- history ---


def test_history_reaches_the_policy_and_is_restored_from_the_ledger(use, samples):
    histories = []

    def noting(sample, progress, history):
        histories.append((list(history.visits), list(history.accuracies)))
        return [min(len(history.visits), 1)]

    trainer = use(FunctionPolicy(noting), correct_from(0))
    for _ in range(2):
        batch_for(trainer, samples[:1])
    assert histories[0] == ([], [])
    assert histories[1] == ([Visit(1, (Tried(0, (1.0, 0.0, 0.0, 0.0)),))], [0.25])
    live = trainer.turn_builder.memory
    with trainer.ledger_path.open("a") as file:
        file.write('{"step": 2, "id": "cut')
    trainer = use(FunctionPolicy(noting), correct_from(0))
    for _ in range(2):  # a second call does not add them again
        trainer._restore_history(1)
    restored, id = trainer.turn_builder.memory, samples[0]["id"]
    assert restored.of(id) == live.of(id)
    assert len(restored.of(id).visits) == 2
    trainer = use(FunctionPolicy(noting), correct_from(0))
    trainer._restore_history(0)
    assert trainer.turn_builder.memory.of(id).visits == ()


def test_a_policy_that_does_not_look_at_it_costs_no_memory(use, samples):
    trainer = use(Adaptive(3), correct_from(0))
    batch_for(trainer, samples[:1])
    assert trainer.turn_builder.memory.of(samples[0]["id"]).visits == ()


# --- dynamic sampling ---


def test_useless_prompts_are_replaced_and_counted(use, samples):
    hopeless = samples[0]["id"]

    def accuracy(completions, id, **_):
        return [float(place == 0 and id[0] != hopeless) for place in range(len(completions))]

    trainer = use(NoHints(), accuracy, keep_sampling=3)
    batch_for(trainer, samples[:2])
    records = list(ledger.read(trainer.ledger_path))
    assert records[0]["id"] not in (samples[0]["id"], samples[1]["id"])
    assert records[1]["id"] == samples[1]["id"]
    assert all(record["valid"] for record in records)
    assert records[0]["redrawn_tokens"] > 0 == records[1]["redrawn_tokens"]
    assert trainer._metrics["train"]["data/redrawn_prompts"] == [1]
    total = sum(sum(record["sampled_tokens"].values()) + record["redrawn_tokens"] for record in records)
    assert trainer._metrics["train"]["hint/sampled_tokens"] == [total]
    first = [record["id"] for record in records]
    trainer.ledger_path.unlink()
    batch_for(use(NoHints(), accuracy, keep_sampling=3), samples[:2])
    assert [
        record["id"] for record in ledger.read(trainer.ledger_path)
    ] == first  # the same draw when a step is repeated


def rollout(useful, tokens=1):
    return Rollout({0: Group(None, [Sampled([1] * tokens, None, "stop")], [""], [float(useful)], [[float(useful)]])})


def redrawn(first, later, max_rounds, anywhere=bool):
    """until_useful over rollouts that are given in advance; prompts are names."""
    names, waiting, rounds = iter("klmnop"), list(later), []

    def roll_out(prompts):
        rounds.append(len(prompts))
        return [waiting.pop(0) for _ in prompts]

    drawn = until_useful(
        ["a", "b", "c"][: len(first)],
        first,
        max_rounds=max_rounds,
        useful=lambda one: one.groups[0].accuracy_G == [1.0],
        draw=lambda count: [next(names) for _ in range(count)],
        roll_out=roll_out,
        anywhere=anywhere,
    )
    return drawn, rounds


def test_rounds_go_on_until_every_group_is_useful_or_the_bound():
    first = [rollout(False, 5), rollout(True), rollout(False, 7)]
    later = [rollout(True), rollout(False, 3), rollout(True)]
    drawn, rounds = redrawn(first, later, 10)
    assert (drawn.prompts, rounds) == (["k", "b", "m"], [2, 1])
    assert (drawn.redrawn_tokens, drawn.num_redrawn) == ([5, 0, 10], 3)  # c and then l were replaced: 7 + 3
    drawn, rounds = redrawn(first, later, 1)
    assert (drawn.prompts, rounds) == (["k", "b", "l"], [2])  # the last one is kept, useless as it is
    assert redrawn([rollout(True)], [], 5)[1] == []


def test_a_rank_with_nothing_to_replace_takes_part_in_the_rounds_of_others():
    answers = iter([True, True, False])
    drawn, rounds = redrawn([rollout(True)], [], 5, anywhere=lambda count: next(answers))
    assert rounds == [0, 0]
    assert drawn.prompts == ["a"]


def test_fresh_rows_are_each_of_the_others_once_in_an_order_of_the_key():
    rows = list(fresh_rows(10, [2, 5], "42/1/0"))
    assert sorted(rows) == [0, 1, 3, 4, 6, 7, 8, 9]
    assert rows == list(fresh_rows(10, [2, 5], "42/1/0")) != list(fresh_rows(10, [2, 5], "42/2/0"))


def test_a_training_with_mixed_groups_moves_the_weights(make_trainer, samples):
    trainer = make_trainer(
        accuracy=correct_from(10), samples=samples, learning_rate=1e-3, hint_policy="g2rpo_a", max_steps=1
    )
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    assert any(not torch.equal(parameter, before[name]) for name, parameter in trainer.model.named_parameters())


POLICY = """
class Remembering:
    def levels(self, sample, progress, history):
        failed = sum(tried.num_correct == 0 for visit in history.visits for tried in visit.tried)
        more = int(sum(history.accuracies[-2:]) > 0.3) + int(progress > 0.4) + sample.random().randrange(2)
        return sorted({0, min(failed + more, sample.num_steps)})
"""


def test_a_policy_with_a_history_resumes_to_the_bit(make_trainer, samples, tmp_path):
    (tmp_path / "policy.py").write_text(POLICY)

    def make(name):
        return make_trainer(
            accuracy=correct_from(12),
            samples=samples[:3],
            output_dir=str(tmp_path / name),
            hint_policy=f"{tmp_path}/policy.py:Remembering",
            learning_rate=1e-3,
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
            max_completion_length=6,
        )

    whole = make("whole")
    whole.train()
    expected = list(ledger.read(whole.ledger_path))
    assert len({record["id"] for record in expected}) < len(expected)  # there was a history
    assert len({tuple(record["steps_by_level"].values()) for record in expected}) > 2  # and it changed the hints
    resumed = make("resumed")
    (tmp_path / "resumed").mkdir(exist_ok=True)
    ledger.append(resumed.ledger_path, expected)  # the killed run's, with later steps than the checkpoint
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    again = list(ledger.read(resumed.ledger_path))[len(expected) :]
    assert again == [record for record in expected if record["step"] > 2]
    first, second = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
