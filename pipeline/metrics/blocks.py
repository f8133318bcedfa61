"""Cuts the range of keys into blocks of bounded size, the same ones however the rows are dealt to runs and ranks."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 1 << 16  # a block and everything computed from it stays near the caches
BINS_PER_PASS = 1 << 16

RowsBelow = Callable[[NDArray], NDArray]


def block_edges(first: int, last: int, key_dtype: np.dtype, rows_below: RowsBelow, *, step: int) -> NDArray:
    """Ascending keys [num_blocks + 1]: block i holds the keys in [edges[i], edges[i + 1]), all of [first, last] is covered.

    A block has at most BLOCK_ROWS rows unless `step` neighbouring keys alone (one score: its negatives and its positives)
    have more. `rows_below(keys)` counts the rows of all ranks below each key. Radix passes: only the ranges that are still
    too full are cut further.
    """
    low = first // step * step
    high = (last // step + 1) * step
    below = rows_below(np.array([low, high], key_dtype))
    edges = [low, *_cut(low, high, int(below[1] - below[0]), key_dtype, rows_below, step)]
    return np.array(edges, key_dtype)


def _cut(low: int, high: int, num_rows: int, key_dtype: np.dtype, rows_below: RowsBelow, step: int) -> list[int]:
    """The upper edges of the blocks in [low, high)."""
    num_bins = min((high - low) // step, BINS_PER_PASS)
    if num_rows <= BLOCK_ROWS or num_bins <= 1:
        return [high]
    span = (high - low) // step
    edges = [low + step * (span * i // num_bins) for i in range(num_bins + 1)]
    below = rows_below(np.array(edges, key_dtype))
    result: list[int] = []
    at = 0
    while at < num_bins:
        end = int(np.searchsorted(below, below[at] + BLOCK_ROWS, side="right")) - 1
        if end <= at:  # this bin alone is too full
            end = at + 1
            result += _cut(edges[at], edges[end], int(below[end] - below[at]), key_dtype, rows_below, step)
        else:
            result.append(edges[end])
        at = end
    return result
