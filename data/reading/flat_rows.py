"""Stored columns as the flat tensors that a served model takes.

Legend: n rows, F sparse features, m ids in these rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.reading.blocks import ids_dtype
from data.schema import Schema, SparseFeature, weights_column


@dataclass(frozen=True)
class FlatRows:
    """Rows as a served model takes them.

    `dense` float32 [n, num_dense]; `values` int32 or int64 [m], feature by feature; `lengths` int32 [F * n]; `weights` float32
    [m], or none where no feature has weights.
    """

    dense: Tensor
    values: Tensor
    lengths: Tensor
    weights: Tensor | None = None

    @property
    def num_rows(self) -> int:
        return self.dense.shape[0]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors in the order in which a served model takes them."""
        flat = (self.dense, self.values, self.lengths)
        return flat if self.weights is None else (*flat, self.weights)

    def sparse(self, features: Sequence[str]) -> KeyedJaggedTensor:
        """The ids as a KeyedJaggedTensor."""
        return KeyedJaggedTensor(keys=list(features), values=self.values, lengths=self.lengths, weights=self.weights)


def stored_columns(schema: Schema) -> list[str]:
    """The stored columns that the features are in."""
    weights = (weights_column(feature.name) for feature in schema.sparse if feature.weighted)
    return [*schema.dense, *schema.sparse_names, *weights]


def flat_rows(table: pa.Table, schema: Schema) -> FlatRows:
    """The rows of a table that has the columns of a part; others are not looked at."""
    num_rows = table.num_rows
    dense = np.empty((num_rows, len(schema.dense)), np.float32)
    for place, name in enumerate(schema.dense):
        dense[:, place] = table[name].to_numpy()
    bags = [_bags(table, feature, ids_dtype(schema)) for feature in schema.sparse]
    weights = None
    if schema.is_weighted:
        weights = torch.from_numpy(
            np.concatenate([_weights(table, each, len(bag[0])) for each, bag in _zip(schema, bags)])
        )
    return FlatRows(
        torch.from_numpy(dense),
        torch.from_numpy(np.concatenate([ids for ids, _ in bags])),
        torch.from_numpy(np.concatenate([lengths for _, lengths in bags])),
        weights,
    )


def at_least_two(rows: FlatRows) -> FlatRows:
    """The rows, twice over where there is but one: exported programs are made for batches of two or more."""
    if rows.num_rows != 1:
        return rows
    sizes = rows.lengths.tolist()
    weights = None if rows.weights is None else _twice(rows.weights, sizes)
    return FlatRows(rows.dense.repeat(2, 1), _twice(rows.values, sizes), rows.lengths.repeat_interleave(2), weights)


def _twice(values: Tensor, sizes: list[int]) -> Tensor:
    return torch.cat([part.repeat(2) for part in values.split(sizes)])


def _zip(schema: Schema, bags: list[tuple[np.ndarray, np.ndarray]]) -> zip:
    return zip(schema.sparse, bags, strict=True)


def _bags(table: pa.Table, feature: SparseFeature, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Ids of a feature, and how many each row has."""
    column = _whole(table[feature.name])
    if not feature.is_list:
        return column.to_numpy().astype(dtype, copy=False), np.ones(len(column), np.int32)
    lengths = np.diff(column.offsets.to_numpy()).astype(np.int32)
    return column.flatten().to_numpy().astype(dtype, copy=False), lengths


def _weights(table: pa.Table, feature: SparseFeature, num_ids: int) -> np.ndarray:
    if not feature.weighted:
        return np.ones(num_ids, np.float32)
    return _whole(table[weights_column(feature.name)]).flatten().to_numpy().astype(np.float32, copy=False)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
