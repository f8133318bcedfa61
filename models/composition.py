"""What happens around the table lookup: ids split in two before it, vectors composed of what it gives behind it.

B: batch rows, F: sparse features, D: embedding dimension.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from models.mlp import fill_normal
from models.positions import PositionWeights
from models.table_layout import FeatureVector


class SplitIds(nn.Module):
    """The KJT that the tables are looked up by: quotients and remainders of the ids in place of the split features' ids.

    `keys` maps each feature, in the KJT's order, to its keys: one, or two that get id // collisions and id % collisions.
    Bags and weights stay as they are. All of it is whole-tensor arithmetic, a few operations for each split feature.
    """

    def __init__(self, keys: dict[str, tuple[str, ...]], collisions: int) -> None:
        super().__init__()
        self._collisions = collisions
        self._keys = [key for each in keys.values() for key in each]
        self._sources = [i for i, each in enumerate(keys.values()) for _ in each]
        self._is_split = [len(each) == 2 for each in keys.values()]

    def forward(self, sparse: KeyedJaggedTensor) -> KeyedJaggedTensor:
        sizes = sparse.length_per_key()
        weights = sparse.weights_or_none()
        return KeyedJaggedTensor(
            keys=self._keys,
            values=torch.cat(
                [part for i, ids in enumerate(sparse.values().split(sizes)) for part in self._parts(i, ids)]
            ),
            weights=None if weights is None else self._repeated(weights.split(sizes)),
            lengths=self._repeated(sparse.lengths().view(len(sizes), -1).unbind()),
        )

    def _parts(self, feature: int, ids: Tensor) -> tuple[Tensor, ...]:
        if not self._is_split[feature]:
            return (ids,)
        return torch.div(ids, self._collisions, rounding_mode="floor"), torch.remainder(ids, self._collisions)

    def _repeated(self, of_feature: Sequence[Tensor]) -> Tensor:
        return torch.cat([of_feature[i] for i in self._sources])


class Compose(nn.Module):
    """A group's vectors side by side, float32 [B, sum of their D], from its pooled pieces [B, columns] and the features' KJT.

    For each feature: pieces over the number of ids (mean pooling; an empty bag stays 0), then positions summed by their
    weights, or quotient and remainder row added, multiplied or side by side, then the projection to D, without a bias, where
    the table is narrower. As in the DLRM reference, a bag of several ids is pooled before its two parts meet.
    """

    def __init__(self, vectors: Sequence[FeatureVector], features: Sequence[str], generator: torch.Generator) -> None:
        super().__init__()
        self._vectors = list(vectors)
        self._widths = [piece.width for vector in vectors for piece in vector.pieces]
        self._firsts = list(accumulate((len(vector.pieces) for vector in vectors), initial=0))
        self._places = [list(features).index(vector.feature) for vector in vectors]
        self._needs_lengths = any(vector.is_mean for vector in vectors)
        self.projections = nn.ModuleDict(
            {vector.feature: _projection(vector, generator) for vector in vectors if vector.width != vector.dim}
        )
        self.position_weights = nn.ModuleDict(
            {
                vector.feature: PositionWeights(len(vector.pieces))
                for vector in vectors
                if vector.operation == "position"
            }
        )

    def forward(self, pooled: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        pieces = pooled.float().split(self._widths, dim=1)
        lengths = sparse.lengths().view(-1, pooled.shape[0]).clamp(min=1) if self._needs_lengths else None
        return torch.cat([self._vector(i, vector, pieces, lengths) for i, vector in enumerate(self._vectors)], dim=1)

    def _vector(self, i: int, vector: FeatureVector, pieces: Sequence[Tensor], lengths: Tensor | None) -> Tensor:
        parts = [pieces[self._firsts[i] + k] for k in range(len(vector.pieces))]
        if vector.is_mean and lengths is not None:
            parts = [part / lengths[self._places[i]].unsqueeze(1) for part in parts]
        if vector.feature in self.position_weights:
            met = self.position_weights[vector.feature](parts)
        elif len(parts) == 1:
            met = parts[0]
        elif vector.operation == "concat":
            met = torch.cat(parts, dim=1)
        else:
            met = parts[0] + parts[1] if vector.operation == "add" else parts[0] * parts[1]
        return self.projections[vector.feature](met) if vector.feature in self.projections else met


class PassOn(nn.Module):
    """A group whose pooled pieces are its vectors already, as float32."""

    def forward(self, pooled: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        return pooled.float()


class Composition(nn.Module):
    """Every group's vectors, a list of float32 [B, sum of their D], from every group's pooled pieces and the features' KJT.

    One module for all groups, so that train pipelines, which trace the ranker, take it as a whole.
    """

    def __init__(
        self, layout: Sequence[Sequence[FeatureVector]], features: Sequence[str], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            PassOn() if all(vector.is_plain for vector in vectors) else Compose(vectors, features, generator)
            for vectors in layout
        )

    def forward(self, pooled: list[Tensor], sparse: KeyedJaggedTensor) -> list[Tensor]:
        return [group(of_group, sparse) for group, of_group in zip(self.groups, pooled, strict=True)]


def _projection(vector: FeatureVector, generator: torch.Generator) -> nn.Linear:
    """[B, width] to [B, D]; weights start as Glorot's normal, N(0, 2 / (width + D))."""
    projection = nn.Linear(vector.width, vector.dim, bias=False)
    with torch.no_grad():
        fill_normal(projection.weight, (2.0 / (vector.width + vector.dim)) ** 0.5, generator)
    return projection
