"""--rollouts_ahead without a server: which rows come next, what the thread shares, what a checkpoint keeps, what is checked."""

import hint_grpo.machine.stack  # noqa: F401

import json
import math
from copy import deepcopy
from dataclasses import replace

import pytest
from accelerate.data_loader import BatchSamplerShard
from batches import correct_from
from torch.utils.data import BatchSampler as TorchBatchSampler

from hint_grpo.machine.errors import UserError
from hint_grpo.policies.history import Memory
from hint_grpo.rollout.placement import check_ahead
from hint_grpo.rollout.prompting import PromptEncoder
from hint_grpo.training import ahead, ledger
from hint_grpo.training.batch import RolloutBatch
from hint_grpo.training.monitoring import GapWatch, TrainingStopped


def first_or_second_level(completions, begun, log_metric, trainer_state, **_):
    """Right with a hint of 20 characters; logs which step it was called for."""
    log_metric("step_of_state", trainer_state.global_step)
    return [float(len(text) >= 20 and place == 0) for place, text in enumerate(begun)]


@pytest.fixture(scope="module")
def trainer(make_trainer, samples):
    """Transformers samples here, on the thread; only a server may in a real run."""
    return make_trainer(accuracy=first_or_second_level, samples=samples[:7], gradient_accumulation_steps=2)


def rows(trainer, *places):
    return [trainer.train_dataset[place] for place in places]


def start(trainer, places, step):
    encoder = PromptEncoder(deepcopy(trainer.processing_class))
    return ahead.start(trainer.sampler, encoder, rows(trainer, *places), step, trainer.state)


def contents(batch: RolloutBatch):
    """Everything that is trained on or recorded."""
    given = batch.trl_inputs()
    return (
        batch.trl_completions(with_logps=True),
        batch.texts,
        str(batch.rewards),
        [{name: value for name, value in row.items() if name not in ("image", "prompt")} for row in given],
        [row["image"].tobytes() for row in given],
        [
            json.dumps(
                ledger.make_record(batch.step, batch.weights_step, prompt.row, rollout, [1.0], prompt.num_skipped)
            )
            for prompt, rollout in zip(batch.prompts, batch.rollouts, strict=True)
        ],
        batch.rejected,
    )


# --- which rows come next ---


def test_rows_of_batches_are_those_of_the_data_loader_over_epochs(trainer):
    """Seven rows in batches of 4 prompts (2 x 2 accumulation): one whole batch per epoch."""
    loader = trainer.get_train_dataloader()
    seen = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == 2  # the same batch for each of the two micro-batches
        seen.append([row["row"] for row in batches[0][:: trainer.num_generations]])
    assert [trainer.rows_of_batch(number) for number in range(3)] == seen
    assert len({tuple(order) for order in seen}) == 3


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_every_rank_predicts_its_own_rows(make_trainer, samples, monkeypatch, num_ranks):
    """Against accelerate's own division of batches among ranks."""
    trainer = make_trainer(samples=samples[:20], per_device_train_batch_size=1, gradient_accumulation_steps=2)
    monkeypatch.setattr(trainer.args, "generation_batch_size", trainer.args.generation_batch_size * num_ranks)
    size = trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation
    for rank in range(num_ranks):
        expected = []
        for epoch in range(2):
            sampler = trainer._get_train_sampler()
            sampler.set_epoch(epoch)
            whole = TorchBatchSampler(sampler, size, drop_last=False)
            batches = list(BatchSamplerShard(whole, num_ranks, rank, split_batches=False))
            per_batch = trainer.args.steps_per_generation
            expected += [batch[:: trainer.num_generations] for batch in batches[::per_batch]]
        state = type("State", (), {"process_index": rank, "num_processes": num_ranks})
        monkeypatch.setattr(trainer, "accelerator", state)
        assert [trainer.rows_of_batch(number) for number in range(len(expected))] == expected
        monkeypatch.undo()
        monkeypatch.setattr(trainer.args, "generation_batch_size", size * num_ranks)


def test_other_rows_than_those_sampled_are_an_error(trainer):
    batch = start(trainer, (2, 3), 1).batch.result()
    ahead.check_rows(batch, 1, rows(trainer, 2, 3), trainer.train_dataset)
    with pytest.raises(
        RuntimeError, match=r"rows \[2, 3\] were sampled ahead for step 1, but step 1 has rows \[3, 2\]"
    ):
        ahead.check_rows(batch, 1, rows(trainer, 3, 2), trainer.train_dataset)
    with pytest.raises(RuntimeError, match="but step 2 has rows"):
        ahead.check_rows(batch, 2, rows(trainer, 2, 3), trainer.train_dataset)


def test_a_row_that_was_replaced_is_recognised(trainer, monkeypatch, tmp_path):
    """A broken picture: the next row is used, as always."""
    (tmp_path / "broken.png").write_bytes(b"no picture")
    data = [trainer.train_dataset[place] for place in range(7)]
    data[6] = data[6] | {"image": str(tmp_path / "broken.png")}
    monkeypatch.setattr(trainer, "train_dataset", data)
    batch = start(trainer, (6, 2), 1).batch.result()
    assert [prompt.row["row"] for prompt in batch.prompts] == [0, 2]
    ahead.check_rows(batch, 1, [data[6], data[2]], data)


# --- the thread ---


def test_the_thread_samples_what_the_trainer_would(trainer):
    trainer.state.global_step = 3
    batch = start(trainer, (0, 5), 5).batch.result()
    expected = trainer.sample(rows(trainer, 0, 5), 5)
    assert batch.weights_step == expected.weights_step == 3
    assert contents(batch) == contents(expected)
    assert [sorted(rollout.groups) for rollout in batch.rollouts] == [[0, 1], [0, 1]]


def test_what_rewards_log_belongs_to_the_batch_s_own_step(trainer):
    trainer.state.global_step = 3
    trainer._pending_metrics.clear()  # TRL's, flushed in every step
    trainer.pending = start(trainer, (0, 5), 5)
    trainer.pending.batch.result()
    assert not trainer._pending_metrics
    taken = trainer._take_ahead(rows(trainer, 0, 5), 5)
    assert taken.step == 5
    # Two prompts with two levels each; as if the step's own beginning had sampled them, after 4 steps.
    assert trainer._pending_metrics["step_of_state"] == [4.0] * 4
    assert trainer.pending is None
    assert trainer._take_ahead(rows(trainer, 0, 5), 6) is None


def test_an_error_in_the_thread_is_raised_where_the_batch_is_taken(trainer, monkeypatch):
    def fails(**_):
        raise ZeroDivisionError("in a reward")

    monkeypatch.setattr(trainer.scorer, "accuracy", fails)
    trainer.pending = start(trainer, (0, 1), 1)
    with pytest.raises(ZeroDivisionError, match="in a reward"):
        trainer._take_ahead(rows(trainer, 0, 1), 1)


def test_the_history_is_as_it_was_when_the_thread_started():
    def record(step):
        return {"step": step, "id": "a", "level": 0, "accuracy": {"0": [1.0, 0.0]}, "steps_by_level": {"0": 0}}

    memory = Memory()
    memory.add([record(1)])
    copied = memory.copy()
    memory.add([record(2)])
    assert [visit.step for visit in copied.of("a").visits] == [1]
    assert copied.of("a").accuracies == [0.5]
    copied.add([record(2)])
    assert copied.of("a") == memory.of("a")


# --- a checkpoint ---


@pytest.mark.parametrize("injection", ["answer", "query"])
def test_a_stored_batch_comes_back_exactly(trainer, tmp_path, monkeypatch, injection):
    builder = replace(trainer.turn_builder, injection=injection)
    monkeypatch.setattr(trainer, "turn_builder", builder)
    monkeypatch.setattr(trainer.scorer, "accuracy", correct_from(0) if injection == "query" else first_or_second_level)
    pending = start(trainer, (4, 1), 2)
    batch = pending.batch.result()
    logps = iter(math.log(1 / n) for n in range(2, 10_000))  # as vLLM gives them: transformers reports none
    for rollout in batch.rollouts:
        for group in rollout.groups.values():
            group.completions[:] = [
                replace(one, logps=[next(logps) for _ in one.token_ids]) for one in group.completions
            ]
        group.rewards_GF[0][0] = math.nan
    file = ahead.file_in(tmp_path, 0)
    ahead.store(file, pending)
    restored = ahead.restore(file, builder, trainer.train_dataset)
    assert restored.batch.result().step == 2
    assert restored.logged == pending.logged
    assert contents(restored.batch.result()) == contents(batch)


def test_without_a_stored_batch_nothing_is_pending(trainer, tmp_path):
    assert ahead.restore(ahead.file_in(tmp_path, 0), trainer.turn_builder, trainer.train_dataset) is None


def test_a_run_resumed_anyway_samples_anew(trainer, tmp_path, monkeypatch):
    """Its data or settings may have changed."""
    ahead.store(ahead.file_in(tmp_path, 0), start(trainer, (4, 1), 2))
    for name, value in {"rollouts_ahead": 1, "resume_anyway": True}.items():
        monkeypatch.setattr(trainer.args, name, value)
    monkeypatch.setattr(trainer, "pending", None)
    trainer.restore_more(tmp_path, 1)
    assert trainer.pending is None
    monkeypatch.setattr(trainer.args, "resume_anyway", False)
    trainer.restore_more(tmp_path, 1)
    assert trainer.pending.batch.result().step == 2


# --- checks ---


def test_gaps_with_one_update_in_them_are_compared_with_each_other():
    """The first step's gap is rounding alone and bounded by --max_logp_gap; those of the next four are only collected."""
    watch = GapWatch(0.05, ahead=True)
    assert [watch.look(gap, step) for step, gap in enumerate((0.001, 0.2, 0.3, 0.2, 0.25), 1)] == [None] * 5
    assert watch.look(0.6, 6) is None  # at most 3 * 0.2 + 0.01
    assert "at first 0.2000" in watch.look(0.7, 7)
    assert all(watch.look(0.7, step) for step in range(8, 11))
    with pytest.raises(TrainingStopped):
        watch.look(0.7, 11)
    assert "from the first step on" in GapWatch(0.05, ahead=True).look(0.06, 1)


AHEAD = {
    "keep_sampling": 0,
    "per_device_train_batch_size": 2,
    "num_generations": 4,
    "gradient_accumulation_steps": 2,
    "num_iterations": 1,
    "steps_per_generation": None,
    "generation_batch_size": None,
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "token_truncate",
}


def test_what_it_needs():
    check_ahead(AHEAD, "own server", num_processes=3)
    check_ahead(AHEAD | {"steps_per_generation": 2}, "given server", num_processes=3)
    check_ahead(AHEAD | {"generation_batch_size": 2 * 4 * 2 * 3}, "given server", num_processes=3)
    for changed in ({"generation_batch_size": 24}, {"steps_per_generation": 1}, {"num_iterations": 2}):
        with pytest.raises(UserError, match="trains once on each sampled batch"):
            check_ahead(AHEAD | changed, "own server", num_processes=3)
