"""Losses against arithmetic: two rows, logits ln 3 and -ln 4, that is probabilities 3/4 and 1/5."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from data.errors import ConfigError
from models.loss_config import LossConfig
from models.losses import Loss

LOGITS = torch.tensor([math.log(3.0), -math.log(4.0)])
LABELS = torch.tensor([1.0, 0.0])
ROW_1, ROW_2 = -math.log(3 / 4), -math.log(4 / 5)


def loss_of(weights: Tensor | None = None, **settings: Any) -> float:
    return Loss(LossConfig(**settings))(LOGITS, LABELS, weights).item()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (ROW_1 + ROW_2) / 2),
        ({"kind": "mse"}, (0.25**2 + 0.2**2) / 2),
        ({"class_weights": (0.5, 3.0)}, (3 * ROW_1 + 0.5 * ROW_2) / 2),
        ({"class_weights": (0.5, 3.0), "kind": "mse"}, (3 * 0.25**2 + 0.5 * 0.2**2) / 2),
        # probabilities become 0.7 and 0.3
        ({"loss_threshold": 0.3}, -math.log(0.7)),
        ({"loss_threshold": 0.3, "kind": "mse"}, 0.3**2),
        # labels become 0.9 and 0.1
        (
            {"label_smoothing": 0.2},
            (0.9 * ROW_1 - 0.1 * math.log(1 / 4) + 0.9 * ROW_2 - 0.1 * math.log(1 / 5)) / 2,
        ),
    ],
)
def test_losses_follow_their_formulas(settings: dict[str, Any], expected: float) -> None:
    assert loss_of(**settings) == pytest.approx(expected, rel=1e-6)


def test_row_weights_multiply_the_rows_and_leave_the_divisor_alone() -> None:
    weights = torch.tensor([2.0, 0.5])

    assert loss_of(weights) == pytest.approx((2 * ROW_1 + 0.5 * ROW_2) / 2, rel=1e-6)
    assert loss_of(weights, class_weights=(1.0, 3.0)) == pytest.approx((6 * ROW_1 + 0.5 * ROW_2) / 2, rel=1e-6)
    assert loss_of(weights, row_weights=False) == pytest.approx((ROW_1 + ROW_2) / 2, rel=1e-6)


def test_the_mean_over_halves_of_a_batch_is_the_loss_of_the_batch() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, labels, weights = torch.randn(8, generator=generator), torch.tensor([1.0, 0, 0, 1] * 2), torch.rand(8)
    loss = Loss(LossConfig(class_weights=(0.2, 2.0), label_smoothing=0.1))

    halves = [loss(logits[half], labels[half], weights[half]) for half in (slice(0, 4), slice(4, 8))]

    torch.testing.assert_close(torch.stack(halves).mean(), loss(logits, labels, weights))


def test_beyond_the_threshold_scores_are_clamped_and_no_gradient_flows() -> None:
    logits = torch.tensor([20.0, 1.0], requires_grad=True)
    loss = Loss(LossConfig(loss_threshold=0.01))

    loss(logits, torch.tensor([0.0, 0.0])).backward()

    assert logits.grad is not None
    assert logits.grad[0] == 0
    assert logits.grad[1] > 0
    assert torch.sigmoid(loss.judged(logits)).max().item() == pytest.approx(0.99)


def test_scores_are_corrected_for_negatives_that_training_did_not_see() -> None:
    """One in ten negatives kept: 3/4 among the kept rows is 3 : 1, so 3 : 10 among all."""
    judged = Loss(LossConfig(negatives_kept=0.1)).judged(LOGITS)

    assert torch.sigmoid(judged).tolist() == pytest.approx([3 / 13, 1 / 41])


def test_the_correction_undoes_real_undersampling() -> None:
    """A constant model fitted to kept rows, corrected, predicts the click rate of all rows."""
    positives, negatives, kept = 300, 9700, 0.05
    fitted = math.log(positives / (negatives * kept))  # the logit that minimises bce on the kept rows

    judged = Loss(LossConfig(negatives_kept=kept)).judged(torch.tensor([fitted]))

    assert torch.sigmoid(judged).item() == pytest.approx(0.03, abs=1e-6)


def test_losses_of_half_precision_logits_are_float32() -> None:
    loss = Loss(LossConfig())(LOGITS.bfloat16(), LABELS)

    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx((ROW_1 + ROW_2) / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": (1.0, -1.0)}, r"loss\.class_weights is \[1\.0, -1\.0\]"),
        ({"class_weights": (0.0, 0.0)}, "no row would count"),
        ({"loss_threshold": 0.5}, r"loss\.loss_threshold is 0\.5"),
        ({"label_smoothing": 1.0}, r"loss\.label_smoothing is 1\.0"),
        ({"negatives_kept": 0.0}, r"loss\.negatives_kept is 0\.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossConfig(**settings)
