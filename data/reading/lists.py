"""Lists from a part's columns, and batches with bags of any size from them.

Legend: S steps of a block, B rows of a batch (on this rank), F sparse features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.reading.blocks import JaggedBlock, OneHotBlock
from data.reading.list_pool import GatheredBags
from data.schema import Schema, SparseFeature, weights_column


@dataclass(frozen=True)
class StoredLists:
    """Views of a part's column: the bag of row i is ids[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]]."""

    offsets: np.ndarray
    ids: np.ndarray
    weights: np.ndarray | None


def stored_lists(table: pa.Table, feature: SparseFeature) -> StoredLists:
    """The lists of a feature in a row group. ArrowInvalid where its weights do not match."""
    column = table.column(feature.name).chunk(0)
    offsets = column.offsets.to_numpy()
    if not feature.weighted:
        return StoredLists(offsets, column.flatten().to_numpy(), None)
    weights = table.column(weights_column(feature.name)).chunk(0)
    if not np.array_equal(np.diff(weights.offsets.to_numpy()), np.diff(offsets)):
        raise pa.ArrowInvalid(f"the weights of {feature.name!r} are not as many as its ids")
    return StoredLists(offsets, column.flatten().to_numpy(), weights.flatten().to_numpy())


def jagged_block(schema: Schema, one_hot: OneHotBlock, bags: Mapping[int, GatheredBags]) -> JaggedBlock:
    """A block of the one-hot features' ids and, by number of the feature, the bags of the others."""
    num_steps, batch_size = one_hot.row_ids.shape
    lengths = np.ones((num_steps, len(schema.sparse), batch_size), np.int32)
    ids: list[list[np.ndarray]] = []
    weights: list[list[np.ndarray]] = []
    one_hot_ids = iter(np.moveaxis(one_hot.ids, 1, 0))
    for feature in range(len(schema.sparse)):
        if feature not in bags:
            ids.append(list(next(one_hot_ids)))
            weights.append([_ones(schema, batch_size)] * num_steps)
            continue
        found = bags[feature]
        lengths[:, feature] = found.lengths.reshape(num_steps, batch_size)
        ends = np.cumsum(lengths[:, feature].sum(axis=1))[:-1]
        ids.append(np.split(found.ids, ends))
        weights.append(np.split(_ones(schema, len(found.ids)) if found.weights is None else found.weights, ends))
    return JaggedBlock(
        dense=one_hot.dense,
        values=[np.concatenate(step) for step in zip(*ids, strict=True)],
        lengths=lengths,
        labels=one_hot.labels,
        row_ids=one_hot.row_ids,
        keys=list(schema.sparse_names),
        weights=[np.concatenate(step) for step in zip(*weights, strict=True)] if schema.is_weighted else None,
    )


def _ones(schema: Schema, num_ids: int) -> np.ndarray:
    """In a KJT all ids have weights or none: those of features without have 1. None are made where no feature has weights."""
    return np.ones(num_ids if schema.is_weighted else 0, np.float32)
