"""How dense and embedded features meet. B: batch rows, F: sparse features, D: embedding dimension.

An interaction takes the dense vector (float32 [B, width]) and the pooled embeddings side by side in the schema's order
(float32 [B, sum of the tables' D]) and gives one wide vector per row, `out_features` wide.
"""

import math

import torch
from torch import Tensor, nn

from models.compiled_products import compiled_pair_products
from models.mlp import MLP, fill_normal
from models.pair_products import pair_products, pairs_and_places, trained_pair_products
from models.trained_layers import trained_layers


class DotInteraction(nn.Module):
    """Dot products of all pairs of the dense vector and the embeddings, behind the dense vector itself (arXiv 1906.00091, 2.2).

    For the vectors v_0 (dense), v_1 .. v_F the output is v_0 followed by v_i . v_j for all i > j; `with_itself` for all i >= j.
    Without dense features (width 0) only the embeddings meet. `is_compiled`: trained by loops that `torch.compile` makes of it.
    """

    is_compiled = False
    pairs: Tensor
    places: Tensor

    def __init__(self, dense_width: int, dim: int, num_sparse: int, *, with_itself: bool = False) -> None:
        super().__init__()
        self.dim = dim
        num_vectors = num_sparse + (dense_width > 0)
        pairs, places = pairs_and_places(num_vectors, dense_width, with_itself=with_itself)
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("places", places, persistent=False)
        self.out_features = dense_width + len(pairs)
        self.words = f"{len(pairs)} dot products of {num_vectors} vectors"

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            trained = compiled_pair_products if self.is_compiled else trained_pair_products
            return trained(dense, embedded, self.pairs, self.places, self.dim)
        return pair_products(dense, embedded, self.pairs, self.dim)


class CatInteraction(nn.Module):
    """The dense vector beside the embeddings, of any widths: what meets, meets in the over arch (arXiv 1906.00091, 2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_features = width
        self.words = "none but in the over arch"

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        return torch.cat([dense, embedded], dim=1)


class ProjectionInteraction(nn.Module):
    """Dot products between learned mixtures of the vectors, behind the dense vector: K * K numbers, however many features.

    For x, all vectors side by side, P = left(x) and Q = right(x) as [K, D] matrices (MLPs that end linearly), the output is
    v_0 followed by P Q^T, row by row. It is the dot interaction in projected form, as TorchRec's InteractionProjectionArch.
    """

    def __init__(
        self,
        dense_width: int,
        dim: int,
        num_sparse: int,
        num_vectors: int,
        hidden: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        widths = (*hidden, num_vectors * dim)
        in_features = dense_width + num_sparse * dim
        self.left = MLP(in_features, widths, is_output=True, generator=generator)
        self.right = MLP(in_features, widths, is_output=True, generator=generator)
        self.out_features = dense_width + num_vectors**2
        self.words = f"{num_vectors**2} dot products of {num_vectors} mixtures with {num_vectors} others"

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        vectors = torch.cat([dense, embedded], dim=1)
        left, right = (branch(vectors).unflatten(1, (-1, self.dim)) for branch in (self.left, self.right))
        return torch.cat([dense, torch.bmm(left, right.transpose(1, 2)).flatten(1)], dim=1)


class CrossNetwork(nn.Module):
    """DCN's cross network (Wang et al., arXiv 1708.05123, eq. 3): x_{l+1} = x_0 (x_l . w_l) + b_l + x_l, float32 [B, width].

    x_0 is the input. w_l starts as N(0, 2 / (width + 1)) (Glorot's normal), b_l as 0.
    """

    def __init__(self, width: int, num_layers: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.out_features = width
        self.weight = nn.ParameterList(torch.empty(width) for _ in range(num_layers))
        self.bias = nn.ParameterList(torch.zeros(width) for _ in range(num_layers))
        with torch.no_grad():
            for weight in self.weight:
                fill_normal(weight, math.sqrt(2.0 / (width + 1)), generator)

    def forward(self, x_0: Tensor) -> Tensor:
        x = x_0
        for weight, bias in zip(self.weight, self.bias, strict=True):
            x = torch.addcmul(x, x_0, (x @ weight).unsqueeze(1)) + bias
        return x


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
            x = torch.addcmul(x, x_0, self._linear(self._linear(x, down, None), up, bias))
        return x

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.training and torch.is_grad_enabled():
            return trained_layers(x, (weight, bias), is_output=True)
        return nn.functional.linear(x, weight, bias)


class PairwiseProducts(nn.Module):
    """sum over i < j of v_i . v_j, float32 [B], of field vectors [B, fields, D] (Rendle, Factorization Machines, 2010, eq. 1).

    Computed as half of |sum_i v_i|^2 - sum_i |v_i|^2, which is linear in the number of fields (lemma 3.1 there).
    """

    def forward(self, vectors: Tensor) -> Tensor:
        return 0.5 * (vectors.sum(dim=1).square() - vectors.square().sum(dim=1)).sum(dim=1)


class CompressedInteraction(nn.Module):
    """xDeepFM's compressed interaction network (Lian et al., arXiv 1803.05170, eq. 6): float32 [B, sum of the widths].

    From field vectors X^0 [B, m, D], layer k has H_k feature maps X^k_h = sum_ij W^k_hij (X^{k-1}_i * X^0_j) (elementwise in
    D), without an activation, which the paper found best; the output is every map summed over D. W^k [H_k, H_{k-1}, m] starts
    as N(0, 2 / (H_k + H_{k-1} m)).
    """

    def __init__(self, num_fields: int, widths: tuple[int, ...], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.out_features = sum(widths)
        before = (num_fields, *widths)
        self.weight = nn.ParameterList(
            torch.empty(maps, inputs, num_fields) for inputs, maps in zip(before, widths, strict=False)
        )
        with torch.no_grad():
            for weight in self.weight:
                fill_normal(weight, math.sqrt(2.0 / (weight.shape[0] + weight.shape[1] * num_fields)), generator)

    def forward(self, vectors: Tensor) -> Tensor:
        maps, summed = vectors, []
        for weight in self.weight:
            mixed = torch.einsum("hij,bjd->bhid", weight, vectors)
            maps = (mixed * maps.unsqueeze(1)).sum(dim=2)
            summed.append(maps.sum(dim=2))
        return torch.cat(summed, dim=1)
