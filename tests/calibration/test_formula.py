"""The formula by hand, and operation for operation against transformers' own processors."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, SuppressTokensLogitsProcessor

from hint_grpo.calibration.formula import calibrated, penalised, suppressed

WITH_IMAGE = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]])
TEXT_ONLY = torch.tensor([[0.5, 3.0, -1.0], [1.5, -2.0, 4.0]])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0.0, [[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]]),
        (0.5, [[1.25, 1.5, -1.0], [0.0, 1.0, 4.0]]),
        (1.0, [[1.5, 1.0, -1.0], [-0.5, 2.0, 4.0]]),
        (2.0, [[2.0, 0.0, -1.0], [-1.5, 4.0, 4.0]]),
    ],
)
def test_calibrated_by_hand(scale: float, expected: list[list[float]]) -> None:
    assert calibrated(WITH_IMAGE, TEXT_ONLY, scale).tolist() == expected


def test_calibration_changes_the_choice() -> None:
    # The text alone favours token 1 (3.0): token 0 is what the picture speaks for.
    assert WITH_IMAGE[0].argmax() == 1
    assert calibrated(WITH_IMAGE, TEXT_ONLY, 1.0)[0].argmax() == 0


def test_one_scale_per_row() -> None:
    scales = torch.tensor([[0.5], [2.0]])
    assert calibrated(WITH_IMAGE, TEXT_ONLY, scales).tolist() == [[1.25, 1.5, -1.0], [-1.5, 4.0, 4.0]]


def test_half_precision_is_calibrated_in_float32() -> None:
    with_image, text_only = torch.tensor([[10.0]]).bfloat16(), torch.tensor([[9.9]]).bfloat16()
    result = calibrated(with_image, text_only, 0.8)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(10.0 + 0.8 * (10.0 - 9.875), abs=1e-6)  # 9.875: 9.9 in bfloat16


def test_penalty_by_hand() -> None:
    logits = torch.tensor([[2.1, -2.0, 1.0, 0.0]])
    seen = torch.tensor([[True, True, False, True]])
    assert penalised(logits, seen, 1.05)[0].tolist() == pytest.approx([2.0, -2.1, 1.0, 0.0])


@pytest.mark.parametrize("penalty", [1.05, 1.3, 0.7])
def test_penalty_is_that_of_transformers_bit_for_bit(penalty: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 500, generator=generator) * 10
    history = torch.randint(0, 500, (8, 60), generator=generator)
    seen = torch.zeros(8, 500, dtype=torch.bool).scatter_(1, history, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(history, logits.clone())
    assert torch.equal(penalised(logits, seen, penalty), expected)


def test_suppressed_tokens_are_never_the_largest() -> None:
    logits = torch.tensor([[5.0, 1.0, 4.0, 3.0]])
    expected = SuppressTokensLogitsProcessor([0, 2])(torch.zeros(1, 1), logits.clone())
    assert torch.equal(suppressed(logits.clone(), torch.tensor([0, 2])), expected)
    assert suppressed(logits.clone(), torch.tensor([0, 2])).argmax() == 3
