"""Real vLLM in the trainer's process: speculative escalation samples what lazy samples, and stops what is decided."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
from batches import batch_for

pytest.importorskip("vllm")


def right_by_tokens(completions, begun, **_):
    """Right or wrong by what was written and by the hint, so that all levels are chosen somewhere."""
    return [float(sum(map(ord, text + start)) % 9 == 0) for text, start in zip(completions, begun, strict=True)]


@pytest.fixture(scope="module")
def trainer(make_trainer, samples):
    """One engine for the whole module."""
    return make_trainer(
        accuracy=right_by_tokens,
        samples=samples,
        use_vllm=True,
        escalation="speculative",
        per_device_train_batch_size=6,
        max_completion_length=48,
        temperature=1.5,
    )


def sampled(trainer, rows, schedule):
    """(rollouts, what TRL gets) of a step with this schedule."""
    trainer.args.schedule = schedule
    batch = batch_for(trainer, rows)
    return trainer.batch.rollouts, batch


def contents(rollouts):
    return [
        (rollout.chosen, {level: [c.token_ids for c in g.completions] for level, g in rollout.groups.items()})
        for rollout in rollouts
    ]


def test_speculative_samples_the_groups_of_lazy(trainer, samples):
    chosen, discarded = set(), 0
    for step in range(4):
        trainer.state.global_step = step
        rows = samples[step : step + 6]
        lazy, lazy_batch = sampled(trainer, rows, "lazy")
        speculative, batch = sampled(trainer, rows, "speculative")
        assert contents(speculative) == contents(lazy)
        for before, after in zip(lazy, speculative, strict=True):
            for level, group in before.groups.items():
                assert group.accuracy_G == after.groups[level].accuracy_G
                for one, other in zip(group.completions, after.groups[level].completions, strict=True):
                    assert one.finish_reason == other.finish_reason
                    assert one.logps == pytest.approx(other.logps, abs=1e-4)
            assert not before.discarded
        assert batch["completion_ids"].equal(lazy_batch["completion_ids"])
        assert batch["advantages"].equal(lazy_batch["advantages"])
        chosen |= {rollout.chosen for rollout in speculative}
        discarded += sum(part.num_tokens for rollout in speculative for part in rollout.discarded.values())
    assert chosen == {0, 1, 2}
    assert discarded > 0


def test_a_speculative_step_can_be_repeated(trainer, samples):
    trainer.state.global_step = 7
    first = sampled(trainer, samples[:6], "speculative")[0]
    again = sampled(trainer, samples[:6], "speculative")[0]
    assert contents(first) == contents(again)
    assert [rollout.discarded for rollout in first] == [rollout.discarded for rollout in again]


def test_nothing_is_left_in_the_engine(trainer, samples, monkeypatch):
    """Level 0 is right at its first completion: higher levels are stopped, and vLLM forgets them."""
    monkeypatch.setattr(trainer.scorer, "accuracy", lambda completions, **_: [1.0] * len(completions))
    trainer.state.global_step = 8
    rollouts, _ = sampled(trainer, samples[:6], "speculative")
    assert [rollout.chosen for rollout in rollouts] == [0] * 6
    assert all(set(rollout.discarded) == {1, 2} for rollout in rollouts)
    for rollout in rollouts:
        longest = 4 * trainer.args.max_completion_length
        assert all(0 < part.num_tokens < longest for part in rollout.discarded.values())
    engine = trainer.vllm_generation.llm.llm_engine
    assert not engine.has_unfinished_requests()
    processor = engine.output_processor
    assert not processor.request_states
    assert not processor.parent_requests
    assert not processor.external_req_ids
    assert not engine.engine_core.engine_core.scheduler.requests


def test_ledger_and_log_count_what_was_thrown_away(trainer, samples, tmp_path, monkeypatch):
    from hint_grpo.training import ledger, rollout_log

    monkeypatch.setattr(trainer.args, "output_dir", str(tmp_path))
    monkeypatch.setattr(trainer, "rollout_log", rollout_log.RolloutLog(tmp_path / "rollouts", "all", 10**9))
    trainer.state.global_step = 9
    rollouts, _ = sampled(trainer, samples[:6], "speculative")
    records = list(ledger.read(tmp_path / ledger.FILE_NAME))
    for record, rollout in zip(records, rollouts, strict=True):
        assert record["discarded_tokens"] == {str(n): part.num_tokens for n, part in rollout.discarded.items()}
        assert record["discarded_completions"] == {
            str(n): part.num_completions for n, part in rollout.discarded.items()
        }
        assert not set(record["discarded_tokens"]) & set(record["sampled_tokens"])
    total = sum(sum(record["discarded_tokens"].values()) for record in records)
    assert trainer._metrics["train"]["hint/discarded_tokens"][-1] == total > 0
    # Whole groups only: stopped completions are not completions.
    rows = list(rollout_log.read(tmp_path / "rollouts"))
    assert len(rows) == sum(len(group.completions) for rollout in rollouts for group in rollout.groups.values())
    assert {row["finish_reason"] for row in rows} <= {"stop", "length"}
