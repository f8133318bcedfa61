"""How dense and embedded features meet. B: batch rows, F: sparse features, D: embedding dimension.

An interaction takes the dense vector (float32 [B, width]) and the pooled embeddings side by side in the schema's order
(float32 [B, sum of the tables' D]) and gives one wide vector per row, `out_features` wide.
"""

import math

import torch
from torch import Tensor, nn

from models.mlp import fill_normal


class DotInteraction(nn.Module):
    """Dot products of all pairs of the dense vector and the embeddings, behind the dense vector itself (arXiv 1906.00091, 2.2).

    For the vectors v_0 (dense), v_1 .. v_F the output is v_0 followed by v_i . v_j for all i > j, without v_i . v_i.
    Without dense features (width 0) only the embeddings meet.
    """

    pairs: Tensor

    def __init__(self, dense_width: int, dim: int, num_sparse: int) -> None:
        super().__init__()
        self.dim = dim
        num_vectors = num_sparse + (dense_width > 0)
        rows, columns = torch.tril_indices(num_vectors, num_vectors, offset=-1)
        self.register_buffer("pairs", rows * num_vectors + columns, persistent=False)
        self.out_features = dense_width + len(rows)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        num_rows = embedded.shape[0]
        vectors = torch.cat([dense, embedded], dim=1).view(num_rows, -1, self.dim)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
        return torch.cat([dense, products.index_select(1, self.pairs)], dim=1)


class LowRankCrossInteraction(nn.Module):
    """DCNv2's cross network with low-rank weights (arXiv 2008.13535, 2.3; the interaction of MLPerf's DLRM-DCNv2).

    x_0 is the dense vector beside the embeddings, N wide; x_{l+1} = x_0 * (V_l U_l x_l + b_l) + x_l with U_l [rank, N] and
    V_l [N, rank]. Weights start as N(0, 2 / (N + rank)) (Glorot's normal), biases as 0.
    """

    def __init__(self, width: int, num_layers: int, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.out_features = width
        self.down = nn.ParameterList(torch.empty(rank, width) for _ in range(num_layers))
        self.up = nn.ParameterList(torch.empty(width, rank) for _ in range(num_layers))
        self.bias = nn.ParameterList(torch.zeros(width) for _ in range(num_layers))
        with torch.no_grad():
            for weight in (*self.down, *self.up):
                fill_normal(weight, math.sqrt(2.0 / (width + rank)), generator)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        x_0 = torch.cat([dense, embedded], dim=1)
        x = x_0
        for down, up, bias in zip(self.down, self.up, self.bias, strict=True):
            x = torch.addcmul(x, x_0, nn.functional.linear(nn.functional.linear(x, down), up, bias))
        return x
