"""The correction of vLLM's rounding from the loss's own forward pass, against TRL's, which runs one more for it.

The sampler is the policy itself with noise on its log-probabilities, so that no weight is 1 and caps and masks matter.
"""

import hint_grpo.machine.stack  # noqa: F401

import itertools
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from test_loss_against_reference import by_hint_characters, nudge, sequence_logps
from transformers import TrainerCallback

from hint_grpo.rollout.escalation import Sampled
from hint_grpo.training.monitoring import GapWatch, TrainingStopped

NAN = float("nan")
SAMPLING = ("sampling/sampling_logp_difference", "sampling/importance_sampling_ratio")


class NoisySampler:
    """The transformers backend, with log-probabilities that differ from the policy's by `noise`; now and then one is missing."""

    def __init__(self, trainer, noise):
        self.trainer, self.backend, self.noise = trainer, trainer.backend, noise

    def ready(self):
        return self.backend.ready()

    def run(self, escalation):
        generator, take = torch.Generator().manual_seed(0), escalation.finished

        def finished(turn, place, completion):
            with torch.no_grad():
                logps = sequence_logps(self.trainer.model, SimpleNamespace(turn=turn), completion)
            logps += self.noise * torch.randn(logps.shape, generator=generator, dtype=logps.dtype)
            logps = [NAN if place == 0 and number == 2 else value for number, value in enumerate(logps.tolist())]
            return take(turn, place, Sampled(completion.token_ids, logps, completion.finish_reason))

        escalation.finished = finished
        self.backend.run(escalation)


def with_noisy_sampler(trainer, noise=0.4):
    trainer.backend = NoisySampler(trainer, noise)
    trainer.use_vllm = trainer.args.use_vllm = True
    trainer._last_loaded_step = -1
    trainer.vllm_generation = SimpleNamespace(sync_weights=lambda: None, loaded_the_policy=False)
    return trainer


@pytest.fixture(scope="module", params=[1, 2], ids=["accumulation 1", "accumulation 2"])
def trainer(request, make_trainer, samples):
    trainer = make_trainer(
        accuracy=by_hint_characters(10),
        dtype=torch.float64,
        samples=samples,
        per_device_train_batch_size=2 // request.param,
        gradient_accumulation_steps=request.param,
        max_completion_length=12,
    )
    nudge(trainer.model)
    with_noisy_sampler(trainer)
    trainer.health.gap = GapWatch(100.0, stop=False)
    # Every step has the same rollouts.
    rollouts = trainer.sample([trainer.train_dataset[row] for row in (0, 1)], 1)
    trainer.sample = lambda rows, step: rollouts
    return trainer


def a_step(trainer, *, separate):
    """(loss, gradients, metrics) of one optimizer step on the rollouts, and how many forward passes it took by model."""
    passes = Counter()
    hooks = [
        model.register_forward_hook(lambda *_, name=name: passes.update([name]))
        for name, model in (("policy", trainer.model), ("reference", trainer.ref_model))
    ]
    trainer._separate_old_logps = separate
    trainer._metrics["train"].clear()
    trainer._step = 0
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    batch = [trainer.train_dataset[row] for row in (0, 1) for _ in range(trainer.num_generations)]
    torch.manual_seed(3)  # TRL shuffles the batch
    total = 0.0
    for _ in range(trainer.args.gradient_accumulation_steps):
        inputs = trainer._prepare_inputs(batch)
        assert "importance_sampling_ratio" not in inputs or separate
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        total += loss.item()
        trainer._step += 1
    for hook in hooks:
        hook.remove()
    trainer._separate_old_logps = False
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    metrics = {
        name: values for name, values in trainer._metrics["train"].items() if "sampling" in name or "clip" in name
    }
    return total, gradients, metrics, passes


def assert_equal_steps(trainer):
    loss, gradients, metrics, _ = a_step(trainer, separate=False)
    expected_loss, expected, expected_metrics, _ = a_step(trainer, separate=True)
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-6)
    assert metrics.keys() == expected_metrics.keys()
    assert {name for name in metrics if name.startswith(SAMPLING)} == {
        *(f"{SAMPLING[0]}/{name}" for name in ("mean", "max")),
        *(f"{SAMPLING[1]}/{name}" for name in ("min", "mean", "max")),
    }
    for name, values in expected_metrics.items():
        assert metrics[name] == pytest.approx(values, abs=1e-6), name
    return loss, gradients, metrics


MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo")


def combinations():
    for mode, loss, beta in itertools.product(MODES, LOSSES, (0.0, 0.04)):
        # Refused by the checks of flags, or by TRL.
        if not (loss == "vespo" and mode.startswith("sequence")):
            yield mode, loss, beta


@pytest.mark.parametrize(("mode", "loss", "beta"), combinations())
def test_loss_and_gradient_are_those_of_a_separate_pass(trainer, monkeypatch, mode, loss, beta):
    monkeypatch.setattr(trainer, "vllm_importance_sampling_mode", mode)
    monkeypatch.setattr(trainer, "vllm_importance_sampling_clip_max", 1.3)
    monkeypatch.setattr(trainer, "vllm_importance_sampling_clip_min", 0.6)
    monkeypatch.setattr(trainer, "loss_type", loss)
    monkeypatch.setattr(trainer, "importance_sampling_level", "sequence" if loss == "luspo" else "token")
    monkeypatch.setattr(trainer, "beta", beta)
    _, gradients, metrics = assert_equal_steps(trainer)
    assert max(gradient.abs().max() for gradient in gradients.values()) > 0
    # The bounds matter: some weights are cut or masked.
    (largest,) = metrics[f"{SAMPLING[1]}/max"]
    assert largest <= 1.3


@pytest.mark.parametrize(
    "settings",
    [
        {"importance_sampling_level": "sequence"},
        {"vllm_importance_sampling_clip_max": 3.0, "vllm_importance_sampling_clip_min": None},
        {"off_policy_mask_threshold": 0.01},
        {"top_entropy_quantile": 0.5},
    ],
    ids=str,
)
def test_other_settings_of_the_loss(trainer, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setattr(trainer, name, value)
    assert_equal_steps(trainer)


def test_the_weights_change_the_loss(trainer, monkeypatch):
    """The case is not trivial."""
    with_weights, *_ = a_step(trainer, separate=False)
    monkeypatch.setattr(trainer, "vllm_importance_sampling_correction", False)
    without, *_ = a_step(trainer, separate=False)
    assert abs(with_weights - without) > 1e-3


def test_one_forward_pass_less(trainer):
    """One per micro-batch: TRL scores the sampled batch in parts of that size."""
    *_, passes = a_step(trainer, separate=False)
    *_, separate = a_step(trainer, separate=True)
    steps = trainer.args.gradient_accumulation_steps
    assert passes == {"policy": steps, "reference": steps}
    assert separate == {"policy": 2 * steps, "reference": steps}


@pytest.mark.parametrize(("name", "value"), [("num_iterations", 2), ("steps_per_generation", 4)])
def test_a_batch_that_outlives_an_update_keeps_its_old_log_probabilities(trainer, monkeypatch, name, value):
    assert trainer._corrects_in_the_loss
    monkeypatch.setattr(trainer if name == "num_iterations" else trainer.args, name, value)
    aligned = trainer.args.gradient_accumulation_steps % trainer._sampled_every == 0
    assert trainer._corrects_in_the_loss == aligned
    assert not aligned or trainer.args.gradient_accumulation_steps == 2


def test_a_gap_that_is_too_wide_stops_the_run_before_its_update(make_trainer, samples):
    trainer = make_trainer(
        accuracy=by_hint_characters(10),
        samples=samples,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        max_completion_length=12,
        max_steps=20,
        learning_rate=1e-3,
    )
    with_noisy_sampler(trainer)
    trainer.health.gap = GapWatch(0.05)
    weights = []

    class Keep(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            weights.append([p.detach().clone() for p in trainer.model.parameters()])

    trainer.add_callback(Keep())
    with pytest.raises(TrainingStopped, match=r"step 5: .* for 5 steps in a row"):
        trainer.train()
    assert len(weights) == 4
    assert all(torch.equal(now, before) for now, before in zip(trainer.model.parameters(), weights[-1], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(weights[0], weights[-1], strict=True))
