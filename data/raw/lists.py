"""Columns of lists as flat items that know their row: split texts, or Parquet lists; with weights beside or behind them.

Legend: n rows of a block, m items in them.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.raw.casting import as_numbers, as_texts, is_text, pc
from data.raw.rejected import BAD_WEIGHT, BAD_WEIGHTS, LIST_TOO_LONG, NOT_UTF8, Rejected
from data.spec.feature_spec import SparseSpec


@dataclass(frozen=True)
class Items:
    """`values` [m] of any type; `owners` int64 [m], ascending: the row of each; `weights` float32 [m] or none."""

    values: pa.Array
    owners: np.ndarray
    weights: np.ndarray | None = None

    def keep(self, mask: np.ndarray) -> "Items":
        if mask.all():
            return self
        weights = None if self.weights is None else self.weights[mask]
        return Items(self.values.filter(pa.array(mask)), self.owners[mask], weights)


def list_items(spec: SparseSpec, columns: dict[str, pa.Array], places: np.ndarray, rejected: Rejected) -> Items:
    """The items of a list feature. Rows whose weights do not match, or whose list is too long, are rejected."""
    items = _flat(columns[spec.column], spec, places, rejected)
    if spec.weights:
        beside = _flat(columns[spec.weights], spec, places, rejected)
        items = _with_weights_beside(items, beside, spec, places, rejected)
    elif spec.weight_separator:
        items = _with_weights_behind(items, spec, places, rejected)
    return _cut(_without_empty(items), spec, places, rejected)


def _flat(column: pa.Array, spec: SparseSpec, places: np.ndarray, rejected: Rejected) -> Items:
    if is_text(column.type):
        texts, bad = as_texts(column, spec.column)
        if bad is not None:
            rejected.add(NOT_UTF8, places[bad])
        column = pc.split_pattern(texts, spec.separator)
    elif pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not pa.types.is_list(column.type):
        raise DataError(
            f"Column {spec.column!r} is of type {column.type}. Expected lists, or texts with a separator: correct the spec."
        )
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return Items(column.flatten(), np.repeat(np.arange(len(column)), lengths))


def _with_weights_beside(
    items: Items, beside: Items, spec: SparseSpec, places: np.ndarray, rejected: Rejected
) -> Items:
    """An empty text beside an empty text is no weight of nothing."""
    counts, weight_counts = (np.bincount(each.owners, minlength=len(places)) for each in (items, beside))
    differ = counts != weight_counts
    rejected.add(BAD_WEIGHTS, places[differ])
    items, beside = items.keep(~differ[items.owners]), beside.keep(~differ[beside.owners])
    present = _is_present(items.values)
    items, beside = items.keep(present), beside.keep(present)
    return _weighted(items, beside.values, spec.weights, places, rejected)


def _with_weights_behind(items: Items, spec: SparseSpec, places: np.ndarray, rejected: Rejected) -> Items:
    texts, _ = as_texts(items.values, spec.column)
    items = _without_empty(Items(texts, items.owners))
    pairs = pc.split_pattern(items.values, spec.weight_separator, max_splits=1, reverse=True)
    is_pair = pc.equal(pc.list_value_length(pairs), 2).to_numpy(zero_copy_only=False)
    rejected.add(BAD_WEIGHTS, places[items.owners[~is_pair]])
    pairs = pairs.filter(pa.array(is_pair))
    items = Items(pc.list_element(pairs, 0), items.owners[is_pair])
    return _weighted(items, pc.list_element(pairs, 1), spec.column, places, rejected)


def _weighted(items: Items, weights: pa.Array, name: str, places: np.ndarray, rejected: Rejected) -> Items:
    numbers, bad = as_numbers(weights, name)
    absent = numbers.is_null().to_numpy(zero_copy_only=False)
    rejected.add(BAD_WEIGHT, places[items.owners[absent if bad is None else absent | bad]])
    return Items(items.values, items.owners, numbers.fill_null(0.0).to_numpy(zero_copy_only=False))


def _without_empty(items: Items) -> Items:
    return items.keep(_is_present(items.values))


def _is_present(values: pa.Array) -> np.ndarray:
    present = values.is_valid()
    if is_text(values.type):
        present = pc.and_(present, pc.greater(pc.binary_length(values).fill_null(0), 0))
    return present.to_numpy(zero_copy_only=False)


def _cut(items: Items, spec: SparseSpec, places: np.ndarray, rejected: Rejected) -> Items:
    if not spec.max_length:
        return items
    counts = np.bincount(items.owners, minlength=len(places))
    is_long = counts > spec.max_length
    if not is_long.any():
        return items
    if spec.too_long == "reject":
        rejected.add(LIST_TOO_LONG, places[is_long])
        return items.keep(~is_long[items.owners])
    starts = np.cumsum(counts) - counts
    return items.keep(np.arange(len(items.owners)) - starts[items.owners] < spec.max_length)
