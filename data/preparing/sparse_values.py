"""Ids of a feature as rows of its table, stored as one column or as lists, with or without weights.

Legend: n rows of a block, m ids of a feature in them.
"""

from typing import Protocol

import numpy as np
import pyarrow as pa

from data.preparing.id_rows import IdHash, ReadyRows
from data.preparing.multi_hot import multi_hot_rows
from data.raw.spec_rows import Bags
from data.schema import weights_column
from data.spec.feature_spec import SparseSpec


class RowLookup(Protocol):
    """Turns the raw ids of one feature into table rows."""

    @property
    def num_rows(self) -> int: ...

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray: ...


def lookup_without_counts(spec: SparseSpec) -> RowLookup:
    """The lookup of a feature whose ids need not be counted first."""
    if spec.ids == "bucketize":
        return ReadyRows(len(spec.boundaries) + 2)
    assert spec.num_rows is not None
    return IdHash(spec.num_rows, spec.seed) if spec.ids == "hash" else ReadyRows(spec.num_rows)


def stored_fields(spec: SparseSpec) -> list[pa.Field]:
    """The stored columns of a feature."""
    if not spec.is_stored_as_list:
        return [required(spec.name, pa.int32())]
    weights = [pa.field(weights_column(spec.name), pa.list_(pa.float32()))] if spec.is_weighted else []
    return [pa.field(spec.name, pa.list_(pa.int32())), *weights]


def required(name: str, kind: pa.DataType) -> pa.Field:
    """A column without missing values."""
    return pa.field(name, kind, nullable=False)


def stored_arrays(spec: SparseSpec, bags: Bags, rows: np.ndarray, num_rows: int) -> list[pa.Array]:
    """The stored columns of a feature, from its ids as table rows, int32 [m], of a table of `num_rows` rows."""
    if spec.multi_hot:
        size = spec.multi_hot.size
        offsets = np.arange(0, len(rows) * size + 1, size, dtype=np.int32)
        return [_lists(offsets, multi_hot_rows(rows, spec.multi_hot, spec.name, num_rows))]
    if bags.lengths is None:
        return [pa.array(rows)]
    offsets = np.zeros(len(bags.lengths) + 1, np.int32)
    np.cumsum(bags.lengths, out=offsets[1:])
    weights = [] if bags.weights is None else [_lists(offsets, bags.weights)]
    return [_lists(offsets, rows), *weights]


def _lists(offsets: np.ndarray, values: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
