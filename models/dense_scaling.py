"""Dense features brought to one scale, by statistics that the model carries: what it saw in training it sees in serving."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SMALLEST_STD = 1e-6
"""A feature that hardly varies is only centred."""


@dataclass(frozen=True, kw_only=True)
class DenseScale:
    """Mean and standard deviation of each dense feature over the train split, after its transform."""

    mean: Sequence[float]
    std: Sequence[float]


class Standardise(nn.Module):
    """(x - mean) / std per feature, float32 [B, num_dense]; the statistics are buffers, saved with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, scale: DenseScale) -> None:
        super().__init__()
        std = torch.tensor(scale.std, dtype=torch.float32)
        self.register_buffer("mean", torch.tensor(scale.mean, dtype=torch.float32))
        self.register_buffer("std", torch.where(std < _SMALLEST_STD, torch.ones_like(std), std))

    def forward(self, dense: Tensor) -> Tensor:
        return (dense - self.mean) / self.std
