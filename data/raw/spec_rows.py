"""What is known of a block's good rows before any id is looked up, whatever format they came in.

Legend: n rows of a block, m ids of a feature in them.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from data.raw.bad_lines import BadLine, TimeSpan


@dataclass(frozen=True, kw_only=True)
class Bags:
    """The ids of one feature, row after row.

    `keys` uint32 or uint64 [m]: hex digits and whole numbers as they are, texts as their 64-bit keys, table rows where the spec
    gives those. `missing` bool [m]: no id, only where every row has exactly one. `lengths` int32 [n], none where every row has
    one. `weights` float32 [m] or none. `texts`: the distinct texts, whose keys are `text_keys`, where ids are texts.
    """

    keys: np.ndarray
    missing: np.ndarray
    lengths: np.ndarray | None = None
    weights: np.ndarray | None = None
    texts: pa.StringArray | None = None
    text_keys: np.ndarray | None = None

    def per_id(self, per_row: np.ndarray) -> np.ndarray:
        """A value per row as a value per id."""
        return per_row if self.lengths is None else np.repeat(per_row, self.lengths)


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """One column of numbers: `values` float32 [n], 0 where missing, and `missing` bool [n]."""

    values: np.ndarray
    missing: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SpecRows:
    """The good rows of a block, and a count of its bad ones.

    `row_ids` int64 [n]; `places` int64 [n], the rows' places in the block, bad ones counted; `labels` int8 [n]; `other_labels`
    int8 [n] for each further target, -1 where missing; `dense` and `bags` in the spec's order; `timestamps` int64 [n], seconds,
    or none; `probabilities` float64 [n] or none.
    """

    row_ids: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    dense: list[Numbers]
    bags: list[Bags]
    other_labels: list[np.ndarray] = field(default_factory=list)
    timestamps: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    bad_counts: Counter[str] = field(default_factory=Counter)
    bad_lines: tuple[BadLine, ...] = ()
    time_span: TimeSpan | None = None
