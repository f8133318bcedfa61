"""The loss of several targets. B: batch rows, T: targets."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.loss_config import LossConfig
from models.losses import Loss


class TargetLosses(nn.Module):
    """sum_t w_t L_t, a float32 scalar, of logits [B, T] against labels, float32 [B, T], NaN where one is missing.

    A missing label adds nothing, and does not change the divisor: L_t is a sum over the rows whose label is known divided by B,
    so that the mean over equal local batches is the mean over the global batch, whatever rank the known labels are on.
    """

    def __init__(self, config: LossConfig, targets: Sequence[str]) -> None:
        super().__init__()
        config.check_targets(targets)
        self.weights = [config.weight_of(target) for target in targets]
        self.losses = [Loss(config.of_target(target)) for target in targets]  # no submodules: they hold no weights

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        is_known = ~labels.isnan()
        filled = labels.nan_to_num()
        losses = [
            weight * (loss.by_row(logits[:, t], filled[:, t], weights) * is_known[:, t]).mean()
            for t, (weight, loss) in enumerate(zip(self.weights, self.losses, strict=True))
        ]
        return torch.stack(losses).sum()

    def bounded(self, logits: Tensor) -> Tensor:
        """As a single loss's: the threshold is the same for all targets."""
        return self.losses[0].bounded(logits)

    def judged(self, logits: Tensor) -> Tensor:
        """The logits that an evaluation scores, [B, T]."""
        return self.losses[0].judged(logits)
