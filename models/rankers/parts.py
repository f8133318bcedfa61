"""Parts that several rankers share: the dense arch, the linear part, fields as vectors of one width.

B: batch rows, F: sparse features, N: dense features, D: embedding dimension.
"""

import torch
from torch import Tensor, nn

from data.schema import Schema
from models.config import ModelConfig
from models.mlp import MLP, fill_normal

DENSE_FACTOR_STD = 0.01
"""Standard deviation of the dense features' vectors at the start: small, or their pairs drown everything else."""


def dense_arch(config: ModelConfig, schema: Schema, generator: torch.Generator) -> nn.Module:
    """The MLP over the dense features, [B, N] to [B, dense_arch[-1]]; without dense features nothing ([B, 0])."""
    if not schema.dense:
        return nn.Identity()
    return MLP(len(schema.dense), config.dense_arch, dropout=config.dropout, generator=generator)


def dense_width(config: ModelConfig, schema: Schema) -> int:
    """Columns that the dense arch gives."""
    return config.dense_arch[-1] if schema.dense else 0


def over_arch(config: ModelConfig, in_features: int, generator: torch.Generator) -> MLP:
    """The MLP that ends in the logit, [B, in_features] to [B, 1]."""
    return MLP(in_features, config.over_arch, dropout=config.dropout, is_output=True, generator=generator)


class LinearPart(nn.Module):
    """w_0 + sum_i w_i x_i over dense features and ids, float32 [B]: an id's w is its first-order term.

    Takes dense features [B, N] and pooled first-order terms [B, 4 F]. The dense weights start as Glorot's normal, w_0 as 0.
    """

    def __init__(self, num_dense: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_dense))
        self.bias = nn.Parameter(torch.zeros(()))
        with torch.no_grad():
            fill_normal(self.weight, (2.0 / (num_dense + 1)) ** 0.5, generator)

    def forward(self, dense: Tensor, terms: Tensor) -> Tensor:
        return self.bias + dense @ self.weight + terms.sum(dim=1)


class FieldVectors(nn.Module):
    """One vector per field, float32 [B, N + F, D]: x_i v_i for dense feature i with a learned v_i, the embeddings behind them."""

    def __init__(self, num_dense: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dim = dim
        self.factors = nn.Parameter(torch.empty(num_dense, dim))
        with torch.no_grad():
            fill_normal(self.factors, DENSE_FACTOR_STD, generator)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        of_dense = dense.unsqueeze(2) * self.factors
        return torch.cat([of_dense, embedded.view(embedded.shape[0], -1, self.dim)], dim=1)


def output_weight(in_features: int, generator: torch.Generator) -> nn.Linear:
    """A last layer's share that another part adds its own to: [B, in_features] to [B, 1], without a bias of its own."""
    linear = nn.Linear(in_features, 1, bias=False)
    with torch.no_grad():
        fill_normal(linear.weight, (2.0 / (in_features + 1)) ** 0.5, generator)
    return linear
