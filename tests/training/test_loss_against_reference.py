"""The trainer's loss and gradient against a float64 reference written from the paper's formulas, one sequence at a time."""

import pytest
import torch
from batches import batch_for

BETA, TEMPERATURE = 0.04, 0.9


def by_hint_characters(needed):
    """Places 0 and 2 of a group are correct once the begun turn is `needed(solution)` characters long."""

    def accuracy(completions, begun, solution, **_):
        return [
            float(len(text) >= needed and place % 2 == 0)
            for place, (text, _) in enumerate(zip(begun, solution, strict=True))
        ]

    return accuracy


def sequence_logps(model, group, completion):
    """log pi(token) of the sampled tokens, at the sampling temperature, from one unpadded forward pass. Shape (T,)."""
    prompt = group.turn.prompt
    begun = prompt.ids + group.turn.begun_ids
    ids = torch.tensor([begun + completion.token_ids])
    inputs = {key: value.double() if value.is_floating_point() else value for key, value in prompt.image_inputs.items()}
    inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).long()
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits[0]
    logps = torch.log_softmax(logits[len(begun) - 1 : -1] / TEMPERATURE, dim=-1)
    return logps.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]


def reference_loss(policy, reference, rollouts):
    """Mean over completions of the mean over sampled tokens of -(ratio * A) + beta * k3, with ratio = 1 at the old policy."""
    losses = []
    for rollout in rollouts:
        group = rollout.group
        rewards = torch.tensor([row[0] for row in group.rewards_GF], dtype=torch.float64)
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        for advantage, completion in zip(advantages, group.completions, strict=True):
            logps = sequence_logps(policy, group, completion)
            with torch.no_grad():
                reference_logps = sequence_logps(reference, group, completion)
            ratio = torch.exp(logps - logps.detach())
            gap = reference_logps - logps
            k3 = torch.exp(gap) - gap - 1
            losses.append((-ratio * advantage + BETA * k3).mean())
    return torch.stack(losses).mean()


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def nudge(model):
    """Moves the policy off the reference, so that the KL term has something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


@pytest.fixture(scope="module")
def trainer64(make_trainer, samples):
    trainer = make_trainer(
        accuracy=by_hint_characters(10), dtype=torch.float64, samples=samples, per_device_train_batch_size=3
    )
    nudge(trainer.model)
    return trainer


@pytest.mark.parametrize("batch_size", [1, 3])
def test_loss_and_gradient_agree_with_the_float64_reference(trainer64, samples, batch_size):
    batch = batch_for(trainer64, samples[:batch_size])
    assert {rollout.chosen for rollout in trainer64.batch.rollouts} >= {1}, "the case must have hints"
    loss = trainer64.compute_loss(trainer64.model, batch)
    got = gradients(trainer64.model, loss)

    # The policy's own forward is TRL's patched one with labels only; without labels it is the model's.
    expected_loss = reference_loss(trainer64.model, trainer64.ref_model, trainer64.batch.rollouts)
    expected = gradients(trainer64.model, expected_loss)

    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-6)
    assert loss.item() > 1e-4  # the KL term is there
    assert got.keys() == expected.keys()
    total = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        # Norms and rotary angles are float32 inside the model, so the bound is of the whole gradient.
        assert (got[name] - gradient).norm() <= 1e-6 * max(total, 1.0), name


def test_hints_of_several_lengths_in_one_batch(make_trainer, samples):
    """A prompt that succeeds at level 0 beside one that needs a long hint: lengths differ, the loss stays right."""
    trainer = make_trainer(dtype=torch.float64, samples=samples, per_device_train_batch_size=3)
    first = samples[0]["solution"]

    def accuracy(completions, begun, solution, **_):
        needed = {first: 0}.get(solution[0], 20)
        return [float(len(text) >= needed and place == 1) for place, text in enumerate(begun)]

    trainer.scorer.accuracy, trainer.scorer.rewards = accuracy, [accuracy]
    nudge(trainer.model)
    rows = [samples[0], *[row for row in samples if row["solution"] != first][:2]]
    batch = batch_for(trainer, rows)
    assert trainer.batch.rollouts[0].chosen == 0
    assert len({len(rollout.group.turn.begun_ids) for rollout in trainer.batch.rollouts}) >= 2
    loss = trainer.compute_loss(trainer.model, batch)
    expected = reference_loss(trainer.model, trainer.ref_model, trainer.batch.rollouts)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_batch_of_two_is_the_mean_of_two_batches_of_one(trainer64, samples):
    with torch.no_grad():
        together = trainer64.compute_loss(trainer64.model, batch_for(trainer64, samples[:2])).item()
        rollouts = trainer64.batch.rollouts
        alone = []
        for rollout in rollouts:
            alone.append(reference_loss(trainer64.model, trainer64.ref_model, [rollout]).item())
    assert together == pytest.approx(sum(alone) / 2, abs=1e-6)
