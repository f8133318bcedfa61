"""Stacks of linear layers with the DLRM reference's initialisation.

B: batch rows.
"""

import math

import torch
from torch import Tensor, nn

from models.trained_layers import trained_layers


class MLP(nn.Sequential):
    """Linear layers with ReLU (and dropout) between them; the last layer is followed by ReLU unless `is_output`.

    Takes float32 [B, in_features], gives float32 [B, widths[-1]].
    """

    def __init__(
        self,
        in_features: int,
        widths: tuple[int, ...],
        *,
        dropout: float = 0.0,
        is_output: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        for i, (fan_in, fan_out) in enumerate(zip((in_features, *widths), widths, strict=False)):
            self.append(initialised_linear(fan_in, fan_out, generator))
            if i == last and is_output:
                continue
            self.append(nn.ReLU())
            if dropout > 0:
                self.append(nn.Dropout(dropout))
        self.depth, self.is_plain, self.is_output = len(widths), dropout == 0, is_output

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The layers one after the other, or all in one where nothing needs them apart."""
        # Fewer than the depth where quantizing put others in their place.
        linear = [layer for layer in self if type(layer) is nn.Linear]
        if len(linear) < self.depth or not self._goes_at_once(x):
            return super().forward(x)
        return trained_layers(x, [each for layer in linear for each in (layer.weight, layer.bias)], self.is_output)

    def _goes_at_once(self, x: Tensor) -> bool:
        """Whether this is training with nothing between the layers, or scoring that no tracer watches."""
        if torch.is_grad_enabled():
            return self.training and self.is_plain
        return not self.training and type(x) is Tensor


def initialised_linear(fan_in: int, fan_out: int, generator: torch.Generator | None = None) -> nn.Linear:
    """A linear layer with weight ~ N(0, 2 / (fan_in + fan_out)) and bias ~ N(0, 1 / fan_out) (variances).

    The formulas are those of the DLRM paper's reference code (Glorot's normal for the weight).
    """
    linear = nn.Linear(fan_in, fan_out)
    with torch.no_grad():
        fill_normal(linear.weight, math.sqrt(2.0 / (fan_in + fan_out)), generator)
        fill_normal(linear.bias, math.sqrt(1.0 / fan_out), generator)
    return linear


def fill_normal(tensor: Tensor, std: float, generator: torch.Generator | None) -> None:
    """Fill in place from N(0, std**2)."""
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)
