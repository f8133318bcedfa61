"""Many steps' worth of rows in a few arrays, and the batches cut out of them without copying.

Legend: S steps of a block, B rows of a batch (on this rank), F sparse features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.batch import Batch
from data.reading.pages import paged_array
from data.reading.prefetch import Prefetched
from data.schema import Schema


class Block(Protocol):
    """S batches of B rows."""

    def batches(self) -> Iterator[Batch]:
        """The batches, each a set of views into the block."""
        ...


def batches_of(blocks: Prefetched) -> Iterator[Batch]:
    """The batches of all blocks. The prefetching ends with the iterator."""
    try:
        for block in blocks:
            yield from block.batches()
    finally:
        blocks.close()


class OneHotLayout:
    """Everything of a KeyedJaggedTensor with one id per bag but its values: the same for all batches, so made once.

    The tensors and lists are shared by all batches: TorchRec reads them and never writes to them.
    """

    def __init__(self, keys: Sequence[str], batch_size: int) -> None:
        num_bags = len(keys) * batch_size
        self._keys = list(keys)
        self._stride = batch_size
        self._lengths = torch.ones(num_bags, dtype=torch.int32)
        self._offsets = torch.arange(num_bags + 1, dtype=torch.int32)
        self._length_per_key = [batch_size] * len(keys)
        self._offset_per_key = [batch_size * i for i in range(len(keys) + 1)]
        self._index_per_key = {key: i for i, key in enumerate(keys)}

    def with_values(self, values: torch.Tensor) -> KeyedJaggedTensor:
        """The ids as a KeyedJaggedTensor; values: [F * B], feature by feature."""
        return KeyedJaggedTensor(
            keys=self._keys,
            values=values,
            lengths=self._lengths,
            offsets=self._offsets,
            stride=self._stride,
            length_per_key=self._length_per_key,
            offset_per_key=self._offset_per_key,
            index_per_key=self._index_per_key,
        )


@dataclass(frozen=True)
class OneHotBlock:
    """S batches with one id per bag: `dense` [S, B, num_dense], `ids` [S, F, B], `labels` and `row_ids` [S, B].

    With several targets `labels` is [S, B, T], NaN where one is missing.
    """

    dense: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    row_ids: np.ndarray
    layout: OneHotLayout

    def batches(self) -> Iterator[Batch]:
        arrays = self.dense, self.labels, self.row_ids, self.ids.reshape(len(self.ids), -1)
        for dense, labels, row_ids, values in zip(*map(_by_step, arrays), strict=True):
            yield Batch(dense, self.layout.with_values(values), labels, row_ids)


@dataclass(frozen=True)
class JaggedBlock:
    """S batches with any number of ids per bag: `values[s]` holds step s's ids feature by feature, `lengths` is [S, F, B], int32.

    `weights[s]`: a weight for each of these ids, float32; none where ids have no weights. The other arrays are those of a
    OneHotBlock.
    """

    dense: np.ndarray
    values: list[np.ndarray]
    lengths: np.ndarray
    labels: np.ndarray
    row_ids: np.ndarray
    keys: list[str]
    weights: list[np.ndarray] | None = None

    def batches(self) -> Iterator[Batch]:
        num_steps, num_keys, batch_size = self.lengths.shape
        offsets = np.zeros((num_steps, num_keys * batch_size + 1), np.int32)
        np.cumsum(self.lengths.reshape(num_steps, -1), axis=1, out=offsets[:, 1:])
        length_per_key, offset_per_key = self.lengths.sum(axis=2).tolist(), offsets[:, ::batch_size].tolist()
        arrays = self.lengths.reshape(num_steps, -1), offsets, self.dense, self.labels, self.row_ids
        for step, (lengths, ends, dense, labels, row_ids) in enumerate(zip(*map(_by_step, arrays), strict=True)):
            sparse = KeyedJaggedTensor(
                keys=self.keys,
                values=torch.from_numpy(self.values[step]),
                weights=None if self.weights is None else torch.from_numpy(self.weights[step]),
                lengths=lengths,
                offsets=ends,
                stride=batch_size,
                length_per_key=length_per_key[step],
                offset_per_key=offset_per_key[step],
            )
            yield Batch(dense, sparse, labels, row_ids)


def _by_step(array: np.ndarray) -> tuple[torch.Tensor, ...]:
    """A view of each step's part of [S, ...]."""
    return torch.from_numpy(array).unbind(0)


def empty_one_hot_block(
    schema: Schema, num_steps: int, batch_size: int, layout: OneHotLayout, num_features: int | None = None
) -> OneHotBlock:
    """A block whose arrays are yet to be filled; with ids of `num_features` features, all of the schema's unless given."""
    num_features = len(schema.sparse) if num_features is None else num_features
    return OneHotBlock(
        dense=paged_array((num_steps, batch_size, len(schema.dense)), np.float32, is_filled=True),
        ids=paged_array((num_steps, num_features, batch_size), ids_dtype(schema), is_filled=True),
        labels=paged_array((num_steps, batch_size, *label_shape(schema)), np.float32, is_filled=True),
        row_ids=paged_array((num_steps, batch_size), np.int64, is_filled=True),
        layout=layout,
    )


def label_shape(schema: Schema) -> tuple[int, ...]:
    """Behind the rows: nothing for one target, their number for several."""
    return (len(schema.targets),) if schema.targets else ()


def ids_dtype(schema: Schema) -> type[np.signedinteger]:
    """int32, which halves the memory and the traffic of ids, unless a table has more rows than it can number."""
    return np.int32 if all(feature.num_embeddings <= 2**31 for feature in schema.sparse) else np.int64
