"""What reaches the loss: masks, image tokens, rewards and log-probabilities of hinted rollouts."""

import math
from dataclasses import replace

import pytest
import torch
from batches import batch_for, correct_from
from PIL import Image

from hint_grpo.hints import hint_at_level
from hint_grpo.policies.paper import Fixed
from hint_grpo.prompts import begun_turn
from hint_grpo.training import ledger
from hint_grpo.training.monitoring import TrainingStopped


@pytest.fixture(scope="module")
def trainer(make_trainer, samples):
    return make_trainer(accuracy=correct_from(20), samples=samples)


def check_batch(trainer, batch):
    mask = batch["completion_mask"] * batch["tool_mask"]
    image_token = trainer.model.config.image_token_id
    row = 0
    for rollout in trainer.batch.rollouts:
        turn = rollout.group.turn
        for completion in rollout.group.completions:
            begun, sampled = len(turn.begun_ids), len(completion.token_ids)
            # the mask's sum is the number of sampled tokens; hints and padding carry 0
            assert mask[row].sum() == sampled
            assert mask[row, :begun].sum() == 0
            assert batch["completion_mask"][row].sum() == begun + sampled
            assert batch["completion_ids"][row, begun : begun + sampled].tolist() == completion.token_ids
            ended = completion.token_ids[-1] in trainer.eos_token_ids
            assert completion.finish_reason == ("stop" if ended else "length")
            row += 1
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    assert torch.equal(batch["mm_token_type_ids"], (ids == image_token).long())
    assert not (batch["completion_ids"] == image_token).any()


def test_masks_and_image_tokens_at_every_level(trainer, samples):
    one_step = max(len(begun_turn(hint_at_level(row["reasoning_steps"], 1, 3))) for row in samples[:2])
    for level, characters in enumerate((0, 20, one_step + 1)):
        accuracy = correct_from(characters)
        trainer.scorer.accuracy, trainer.scorer.rewards = accuracy, [accuracy]
        batch = batch_for(trainer, samples[:2])
        assert max(rollout.chosen for rollout in trainer.batch.rollouts) == level
        check_batch(trainer, batch)
    trainer.scorer.accuracy, trainer.scorer.rewards = correct_from(20), [correct_from(20)]


def test_rewards_are_of_the_chosen_group_and_see_only_what_the_model_wrote(trainer, samples):
    seen = []

    def accuracy(completions, begun, **_):
        seen.append((list(completions), begun[0]))
        return correct_from(20)(completions, begun)

    trainer.scorer.accuracy, trainer.scorer.rewards = accuracy, [accuracy]
    batch = batch_for(trainer, samples[:1])
    (rollout,) = trainer.batch.rollouts
    hint = rollout.group.turn.hint.text
    assert hint
    assert rollout.group.turn.begun == "<think>" + hint
    judged = {begun: texts for texts, begun in seen}
    assert set(judged) == {"<think>", "<think>" + hint}
    # the hint is not in what is judged: the texts are the sampled tokens and nothing else
    assert judged["<think>" + hint] == [trainer.encoder.decode(c.token_ids) for c in rollout.group.completions]
    assert [row[0] for row in rollout.group.rewards_GF] == [1.0, 0.0, 0.0, 0.0]
    # (1 - 1/4) / (1/2 + 1e-4) and (0 - 1/4) / (1/2 + 1e-4)
    assert batch["advantages"].tolist() == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3, abs=1e-4)


def test_metrics_and_ledger_of_a_batch(trainer, samples):
    trainer.scorer.accuracy = trainer.scorer.rewards[0]
    trainer._metrics["train"].clear()
    trainer.ledger_path.unlink(missing_ok=True)
    batch_for(trainer, samples[:2])
    records = list(ledger.read(trainer.ledger_path))
    assert [record["id"] for record in records] == [row["id"] for row in samples[:2]]
    assert all(record["level"] == 1 and record["valid"] and record["hint_tokens"] > 0 for record in records)
    assert all(set(record["rewards"]) == {"0", "1"} for record in records)  # level 2 was never sampled
    metrics = trainer._metrics["train"]
    assert metrics["hint/data_utilization"] == [1.0]
    assert metrics["hint/data_utilization_level0"] == [0.0]
    assert metrics["hint/mean_level"] == [1.0]


def test_query_injection_puts_the_hint_into_the_question(make_trainer, samples):
    trainer = make_trainer(accuracy=lambda completions, **_: [1.0, 0.0] * 2, samples=samples, hint_injection="query")
    trainer.turn_builder = replace(trainer.turn_builder, policy=Fixed(0.6))
    batch = batch_for(trainer, samples[:2])
    check_batch(trainer, batch)
    for place, row in enumerate(samples[:2]):
        turn = trainer.batch.rollouts[place].group.turn
        prompt = trainer.encoder.tokenizer.decode(turn.prompt.ids)
        assert turn.hint.text
        assert turn.hint.text in prompt
        assert prompt.index(row["question"]) < prompt.index(turn.hint.text)
        assert turn.begun == "<think>"


def test_reward_that_gives_nothing_moves_nothing(make_trainer, samples):
    trainer = make_trainer(accuracy=lambda completions, **_: [None, math.nan, 1.0, 0.0], samples=samples, num_groups=1)
    batch = batch_for(trainer, samples[:1])
    assert batch["advantages"][:2].tolist() == [0.0, 0.0]
    assert batch["advantages"][2] > 0 > batch["advantages"][3]


def test_level_that_does_not_fit_is_skipped_and_counted(make_trainer, samples):
    trainer = make_trainer(accuracy=correct_from(10_000), samples=samples)
    row = samples[0]
    turns, skipped = trainer.turn_builder.turns({**row, "row": 0}, index=0, step=1)
    assert (len(turns), skipped) == (3, 0)
    longest = len(turns[1].prompt.ids) + len(turns[1].begun_ids) + trainer.args.max_completion_length
    tight = replace(trainer.turn_builder, limits=replace(trainer.turn_builder.limits, context_length=longest))
    turns, skipped = tight.turns({**row, "row": 0}, index=0, step=1)
    assert [turn.hint.level for turn in turns] == [0, 1]
    assert skipped == 1


def test_unusable_samples_are_replaced_and_counted(make_trainer, samples, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    Image.new("RGB", (84, 84)).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    rows = [{**samples[0], "image": str(broken)}, *samples[1:5]]
    trainer = make_trainer(accuracy=correct_from(0), samples=rows)
    batch_for(trainer, rows[:2])
    assert [row["id"] for row in trainer.batch.rows] == [rows[1]["id"], rows[1]["id"]]
    assert trainer._metrics["train"]["data/replaced_samples"] == [1]
    assert f"sample left out: {samples[0]['source']}" in capsys.readouterr().out

    too_long = make_trainer(accuracy=correct_from(0), samples=rows[1:], max_prompt_length=20)
    with pytest.raises(Exception, match=r"none of the 4 samples can be used.*max_prompt_length"):
        batch_for(too_long, rows[1:2])


def test_a_step_moves_the_weights(make_trainer, samples):
    trainer = make_trainer(accuracy=correct_from(20), samples=samples, learning_rate=1e-3)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    moved = [name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])]
    assert len(moved) > 0.9 * len(before)
    assert trainer.state.global_step == 2


def test_rewards_that_say_nothing_stop_the_run_with_the_reason(make_trainer, samples):
    """None, NaN and inf alike; the weights stay finite and no advantage is made of them."""
    nothing = [None, math.nan, math.inf, -math.inf]
    trainer = make_trainer(
        accuracy=lambda completions, **_: nothing, samples=samples, num_groups=1, max_steps=5, max_bad_steps=3
    )
    with pytest.raises(TrainingStopped, match="3 steps in a row"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
    assert [row["rewards/unusable"] for row in trainer.state.log_history if "loss" in row] == [8.0, 8.0]


def test_one_infinite_reward_spoils_nothing(make_trainer, samples):
    trainer = make_trainer(accuracy=lambda completions, **_: [math.inf, 1.0, 0.0, 0.0], samples=samples, num_groups=1)
    batch = batch_for(trainer, samples[:1])
    assert batch["advantages"][0] == 0
    assert torch.isfinite(batch["advantages"]).all()
    assert batch["advantages"][1] > 0 > batch["advantages"][2]
