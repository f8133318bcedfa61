"""From raw rows to what a prepared dataset stores: one function per kind of column.

Legend: n rows of a block.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from data.criteo import DENSE_NAMES, SPARSE_NAMES
from data.raw.raw_rows import RawRows


class RowLookup(Protocol):
    """Turns the raw ids of one feature into table rows."""

    @property
    def num_rows(self) -> int: ...

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray: ...


def dense_names(missing_indicator: bool) -> tuple[str, ...]:
    """Names of the dense columns that `dense_columns` returns, in order."""
    indicators = tuple(f"{name}_missing" for name in DENSE_NAMES) if missing_indicator else ()
    return (*DENSE_NAMES, *indicators)


def dense_columns(rows: RawRows, missing_indicator: bool) -> np.ndarray:
    """float32 [13 or 26, n]: log(1 + max(x, 0)), 0 where missing; then the indicators, 1 where missing."""
    logs = np.log1p(np.maximum(rows.integers, 0).astype(np.float32))
    return np.concatenate([logs, rows.integer_missing.astype(np.float32)]) if missing_indicator else logs


def sparse_columns(rows: RawRows, lookups: Sequence[RowLookup]) -> np.ndarray:
    """int32 [26, n]: the table row of each id."""
    columns = np.empty(rows.ids.shape, dtype=np.int32)
    for column, ids, missing, lookup in zip(columns, rows.ids, rows.id_missing, lookups, strict=True):
        column[:] = lookup.rows(ids, missing)
    return columns


def stored_schema(missing_indicator: bool, has_probability: bool) -> pa.Schema:
    """Columns of a part: row_id, label, dense, sparse and, where it is known, true_probability."""
    return pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            *((name, pa.float32()) for name in dense_names(missing_indicator)),
            *((name, pa.int32()) for name in SPARSE_NAMES),
            *([("true_probability", pa.float64())] if has_probability else []),
        ]
    )


def stored_table(rows: RawRows, dense: np.ndarray, sparse: np.ndarray, schema: pa.Schema) -> pa.Table:
    """The rows of a block as a part stores them."""
    truth = [] if rows.probabilities is None else [rows.probabilities]
    columns = [rows.row_ids, rows.labels, *dense, *sparse, *truth]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=schema)
