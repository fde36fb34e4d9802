"""--rollouts_ahead with a real vLLM server: every batch is made by the weights before the last update, and the rest holds."""

import hint_grpo.machine.stack  # noqa: F401

import copy
import threading

import pytest
import torch
from batches import logp_gap
from transformers import TrainerCallback

from hint_grpo.rollout.access import TOKEN_VARIABLE
from hint_grpo.training import ledger
from hint_grpo.training.monitoring import TrainingStopped

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow
NUM_STEPS = 5


def by_length(completions, begun, **_):
    """Rewards that differ, so that every step changes the weights; a hint is needed for the highest."""
    return [
        len(text) % 7 / 8 + float(len(start) > 20 and place == 0)
        for place, (text, start) in enumerate(zip(completions, begun, strict=True))
    ]


class Watch(TrainerCallback):
    """Keeps the weights after every step."""

    def __init__(self, model):
        self.model, self.weights = model, {0: copy.deepcopy(model.state_dict())}

    def on_step_end(self, args, state, control, **kwargs):
        self.weights[state.global_step] = copy.deepcopy(self.model.state_dict())


@pytest.fixture
def make(make_trainer, samples, server, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, server.token)

    def make(**more):
        settings = {
            "accuracy": by_length,
            "samples": samples[:8],
            "use_vllm": True,
            "vllm_server_base_url": server.url,
            "rollouts_ahead": 1,
            "max_steps": NUM_STEPS,
            "max_completion_length": 32,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "stop_on_logp_gap": False,
        }
        return make_trainer(**(settings | more))

    return make


def test_completions_come_from_the_weights_before_the_last_update(make, monkeypatch):
    trainer = make()
    watch = Watch(trainer.model)
    trainer.add_callback(watch)
    batches, in_flight = [], []
    record, sync = trainer._record, trainer.vllm_generation.sync_weights
    monkeypatch.setattr(
        trainer, "_record", lambda batch, advantages: (batches.append(batch), record(batch, advantages))
    )
    monkeypatch.setattr(
        trainer.vllm_generation, "sync_weights", lambda: (in_flight.append(trainer.pending is not None), sync())
    )
    trainer.train()
    assert [batch.weights_step for batch in batches] == [0, 0, 1, 2, 3]
    assert [record["weights_step"] for record in ledger.read(trainer.ledger_path)] == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert in_flight
    assert not any(in_flight)  # weights are handed over between two batches
    assert trainer.pending is None  # nothing is sampled after the last step
    for batch in batches:
        trainer.batch = batch
        trainer.model.load_state_dict(watch.weights[batch.weights_step])
        assert logp_gap(trainer) < 1e-3
        trainer.model.load_state_dict(watch.weights[batch.weights_step + 1])
        assert logp_gap(trainer) > 1e-2  # the measure sees one update
    # The rows are the epoch's own (four steps of two prompts), and then the next epoch's.
    rows = [prompt.row["row"] for batch in batches for prompt in batch.prompts]
    assert sorted(rows[:8]) == list(range(8))


def test_the_loss_has_the_importance_weights_of_the_tokens(make):
    """w = min(p_now / p_sampler, 3) by token, where p_now is the trained weights' and p_sampler those one update older."""
    trainer = make(max_steps=3)
    seen = []
    loss = trainer._correct

    def look(inputs, logps):
        loss(inputs, logps)
        seen.append((inputs, logps))

    trainer._correct = look
    trainer.train()
    assert len(seen) == 3
    for number, (inputs, logps) in enumerate(seen):
        mask = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
        expected = (logps - inputs["sampling_per_token_logps"]).exp().clamp(max=3.0)
        assert torch.allclose(inputs["importance_sampling_ratio"][mask], expected[mask])
        moved = (expected[mask] - 1).abs().mean().item()
        assert moved < 1e-3 if number == 0 else moved > 1e-2


def test_a_resumed_run_trains_on_the_stored_batch(make, tmp_path):
    trainer = make(output_dir=str(tmp_path / "run"), save_strategy="steps", save_steps=3, max_steps=NUM_STEPS)
    batches = []
    record = trainer._record
    trainer._record = lambda batch, advantages: (batches.append(batch), record(batch, advantages))
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-3"
    assert (checkpoint / "rollouts-ahead-rank-0.json").is_file()

    resumed = make(output_dir=str(tmp_path / "run"), max_steps=NUM_STEPS)
    again = []
    record_again = resumed._record
    resumed._record = lambda batch, advantages: (again.append(batch), record_again(batch, advantages))
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert [batch.step for batch in again] == [4, 5]
    assert again[0].weights_step == 2
    assert again[0].trl_completions(with_logps=True) == batches[3].trl_completions(with_logps=True)
    assert again[0].rewards == batches[3].rewards
    # The next one is sampled anew, by the same weights with the same seeds.
    assert [c.token_ids for g in again[1].groups for c in g.completions] == [
        c.token_ids for g in batches[4].groups for c in g.completions
    ]
    one, other = trainer.model.state_dict(), resumed.model.state_dict()
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_an_error_in_a_reward_ends_the_run(make):
    def fails(completions, trainer_state, **_):
        if trainer_state.global_step == 2:
            raise TrainingStopped("for the test")
        return by_length(completions, [""] * len(completions))

    trainer = make(accuracy=fails)
    with pytest.raises(TrainingStopped, match="for the test"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert not [thread for thread in threading.enumerate() if thread.name == "rollouts ahead"]
