"""--hint_loss_weight: the supervised term against one made by hand, one unpadded sequence at a time."""

import math

import pytest
import torch
from batches import batch_for, correct_from

from hint_grpo.hints import HintLevel
from hint_grpo.rollout.escalation import EncodedPrompt, Group, Sampled, Turn
from hint_grpo.training.hint_loss import hint_mask, hint_nll


def group_of(begun, hint_tokens, num_completions):
    turn = Turn(0, HintLevel(0, 1, ""), EncodedPrompt([], [], [], None, {}, None), "", [9] * begun, hint_tokens, 0)
    return Group(turn, [Sampled([1, 2], None, "stop")] * num_completions, [], [], [])


def test_the_mask_has_the_hint_and_nothing_else():
    # begun: 1 token of `<think>`, then the hint
    mask = hint_mask([group_of(3, 2, 2), group_of(1, 0, 1)], 5)
    assert mask.tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_the_mean_is_over_all_hint_tokens():
    logps = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, -16.0, -32.0]], requires_grad=True)
    mask = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    nll = hint_nll(logps, mask)
    assert nll.item() == pytest.approx(14 / 3)
    nll.backward()
    assert torch.allclose(logps.grad, -mask / 3)
    assert math.isnan(hint_nll(logps, torch.zeros(2, 3)).item())


@pytest.fixture(scope="module")
def trainer64(make_trainer, samples):
    return make_trainer(
        accuracy=correct_from(10), dtype=torch.float64, samples=samples, hint_loss_weight=0.5, max_completion_length=8
    )


def reference_nll(trainer):
    """- mean log pi of the hint's tokens, at the sampling temperature, from unpadded forward passes."""
    parts = []
    for rollout in trainer.batch.rollouts:
        turn = rollout.group.turn
        ids = torch.tensor([turn.prompt.ids + turn.begun_ids])
        pictures = {
            name: value.double() if value.is_floating_point() else value
            for name, value in turn.prompt.image_inputs.items()
        }
        types = (ids == trainer.model.config.image_token_id).long()
        logits = trainer.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, **pictures
        ).logits[0]
        logps = torch.log_softmax(logits[:-1] / trainer.args.temperature, -1)
        logps = logps.gather(1, ids[0, 1:, None])[:, 0]
        parts += [logps[len(logps) - turn.hint_tokens :]] * len(rollout.group.completions)
    return -torch.cat(parts).mean()


def loss_and_gradients(trainer, batch):
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.item(), gradients


def test_it_adds_the_weighted_nll_of_the_hint(trainer64, samples):
    batch = batch_for(trainer64, samples[:2])
    tokens = [rollout.group.turn.hint_tokens for rollout in trainer64.batch.rollouts]
    assert min(tokens) > 0, "the case must have hints"
    assert batch["hint_mask"].sum() == 4 * sum(tokens)
    with_hint, gradient = loss_and_gradients(trainer64, batch)
    plain = {name: value for name, value in batch.items() if name != "hint_mask"}
    without, plain_gradient = loss_and_gradients(trainer64, plain)
    trainer64.model.zero_grad()
    nll = reference_nll(trainer64)
    (0.5 * nll).backward()
    assert with_hint - without == pytest.approx(0.5 * nll.item(), abs=1e-6)
    total = torch.cat([p.grad.flatten() for p in trainer64.model.parameters() if p.grad is not None]).norm()
    for name, parameter in trainer64.model.named_parameters():
        if parameter.grad is not None:
            added = gradient[name] - plain_gradient[name]
            assert (added - parameter.grad).norm() <= 1e-5 * total, name
    assert trainer64._metrics["train"]["hint/nll"][-1] == pytest.approx(nll.item(), abs=1e-6)


def test_a_batch_without_hints_adds_nothing(trainer64, samples):
    trainer64.scorer.accuracy, trainer64.scorer.rewards = correct_from(0), [correct_from(0)]
    batch = batch_for(trainer64, samples[:1])
    assert batch["hint_mask"].sum() == 0
    with torch.no_grad():
        with_hint = trainer64.compute_loss(trainer64.model, batch).item()
        without = trainer64.compute_loss(
            trainer64.model, {name: value for name, value in batch.items() if name != "hint_mask"}
        ).item()
    assert with_hint == without
    assert math.isnan(trainer64._metrics["train"]["hint/nll"][-1])
