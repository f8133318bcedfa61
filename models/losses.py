"""From logits and labels to what training minimises, and from logits to the scores that are judged.

B: batch rows. Every loss is a sum over rows divided by B, so that the mean over equal local batches is the mean over the
global batch; weights do not change the divisor.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from models.loss_config import LossConfig


class Loss(nn.Module):
    """The loss, a float32 scalar, of logits [B] against labels, float32 [B] in [0, 1], and weights, float32 [B] or None."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self._bound = _logit_bound(config.loss_threshold)
        self._shift = math.log(config.negatives_kept or 1.0)

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        weights = self._row_weights(labels, weights)
        if weights is None:
            return self._losses(logits, labels, "mean")  # with the mean in the loss, there is one step of autograd less
        return (self._losses(logits, labels, "none") * weights).mean()

    def by_row(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """What each row adds, float32 [B], before the mean over rows."""
        weights, losses = self._row_weights(labels, weights), self._losses(logits, labels, "none")
        return losses if weights is None else losses * weights

    def _losses(self, logits: Tensor, labels: Tensor, reduction: Literal["mean", "none"]) -> Tensor:
        """The loss of each row without its weight, float32 [B], or their mean."""
        bounded, smoothing = self.bounded(logits.float()), self.config.label_smoothing
        target = labels.lerp(torch.full_like(labels, 0.5), smoothing) if smoothing else labels
        if self.config.kind == "mse":
            return nn.functional.mse_loss(torch.sigmoid(bounded), target, reduction=reduction)
        return nn.functional.binary_cross_entropy_with_logits(bounded, target, reduction=reduction)

    def bounded(self, logits: Tensor) -> Tensor:
        """Logits whose probabilities keep `loss_threshold` away from 0 and 1; beyond it no gradient flows."""
        return logits if self._bound is None else logits.clamp(-self._bound, self._bound)

    def judged(self, logits: Tensor) -> Tensor:
        """The logits that an evaluation scores: bounded, then corrected for negatives that training did not see.

        With a share w of the negatives kept, a model that predicts p means q = p / (p + (1 - p) / w) (He et al. 2014,
        "Practical lessons from predicting clicks on ads at Facebook", 6.3), which is logit q = logit p + ln w.
        """
        return self.bounded(logits) + self._shift if self._shift else self.bounded(logits)

    def _row_weights(self, labels: Tensor, weights: Tensor | None) -> Tensor | None:
        """A row's own weight times its class's; a label between 0 and 1 has a class weight in between."""
        of_zero, of_one = self.config.class_weights
        own = weights if self.config.row_weights else None
        if of_zero == of_one == 1.0:
            return own
        by_class = of_zero + (of_one - of_zero) * labels
        return by_class if own is None else by_class * own


def _logit_bound(threshold: float) -> float | None:
    """sigmoid is monotonous: clamping logits to +-logit(1 - t) is clamping probabilities to [t, 1 - t], without its rounding."""
    return math.log1p(-threshold) - math.log(threshold) if threshold else None
