"""Criteo's click logs as feature specs."""

from dataclasses import replace
from typing import Literal

from data.criteo import DENSE_NAMES, MLPERF_TABLE_SIZES, NUM_SPARSE, SPARSE_NAMES
from data.spec.feature_spec import DenseSpec, FeatureSpec, FormatSpec, LabelSpec, SparseSpec, Transform

_FORMAT = FormatSpec(kind="tsv", header=False, columns=("label", *DENSE_NAMES, *SPARSE_NAMES))


def criteo_spec(
    ids: Literal["map", "hash"], min_count: int, table_sizes: tuple[int, ...], dense_missing_indicator: bool
) -> FeatureSpec:
    """Label, 13 integers as logarithms, 26 ids of 8 hex digits: to rows by count, or modulo `table_sizes` (1 or 26)."""
    dense = (
        DenseSpec(
            name=name,
            column=name,
            type="integer",
            transforms=(Transform(kind="log"),),
            missing_indicator=dense_missing_indicator,
        )
        for name in DENSE_NAMES
    )
    sizes = table_sizes or MLPERF_TABLE_SIZES
    sizes = sizes * NUM_SPARSE if len(sizes) == 1 else sizes
    mapped = (SparseSpec(name=name, column=name, type="hex", min_count=min_count) for name in SPARSE_NAMES)
    hashed = (
        SparseSpec(name=name, column=name, type="hex", ids="hash", num_rows=size)
        for name, size in zip(SPARSE_NAMES, sizes, strict=True)
    )
    sparse = mapped if ids == "map" else hashed
    return FeatureSpec(format=_FORMAT, label=LabelSpec(column="label"), dense=tuple(dense), sparse=tuple(sparse))


def is_criteo_text(spec: FeatureSpec) -> bool:
    """Whether the spec takes from each line just what the parser of Criteo's format yields: its 40 columns, in their order."""
    return (
        replace(spec.format, quote=None) == _FORMAT
        and not spec.format.quote_character
        and spec.label == LabelSpec(column="label")
        and not spec.other_labels
        and not spec.row_id
        and spec.timestamp is None
        and tuple(each.column for each in spec.dense) == DENSE_NAMES
        and all(each.type == "integer" for each in spec.dense)
        and tuple(each.column for each in spec.sparse) == SPARSE_NAMES
        and all(each.type == "hex" and not each.list and each.default is None for each in spec.sparse)
    )
