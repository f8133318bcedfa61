"""How often each row of a small table is looked up: a count for every row, and nothing to sort."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.preparing.key_counts import KeyCounts

_COUNT = np.dtype(np.uint32)
_MOST_BYTES = 1 << 24
"""Memory of the counts of all small tables together."""


@dataclass(frozen=True)
class LookedUpRows:
    """Rows of a table that a block looks up, uint32 [m], each as often as it does; and how many rows the table has."""

    rows: np.ndarray
    num_rows: int


class RowCounter:
    """Counts of the rows of one table."""

    num_bytes = 0
    """Memory that other counts could have if these were moved to a file: none, since the next block needs it again."""

    def __init__(self, num_rows: int) -> None:
        self._counts = np.zeros(num_rows, _COUNT)

    def add(self, block: LookedUpRows) -> None:
        np.add.at(self._counts, block.rows.astype(np.int64), _COUNT.type(1))

    def result(self) -> KeyCounts:
        rows = np.flatnonzero(self._counts)
        return KeyCounts(rows.astype(np.uint32), self._counts[rows].astype(np.int64))


def small_tables(num_rows: Mapping[str, int]) -> dict[str, int]:
    """Those features, smallest tables first, for whose counts there is room: `num_rows` of the table by feature."""
    room, small = _MOST_BYTES, {}
    for name in sorted(num_rows, key=num_rows.__getitem__):
        room -= num_rows[name] * _COUNT.itemsize
        if room < 0:
            break
        small[name] = num_rows[name]
    return small
