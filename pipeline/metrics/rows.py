"""Scored rows packed into unsigned integers that sort by score, then label: what every exact figure is counted from.

The bits of a non-negative float order like the float itself, and a probability leaves its sign bit free. So
`key = bits(score) << 1 | label` is a uint32 for a float32 score and a uint64 for a float64 score: nothing is rounded, equal
scores stay equal, and sorting integers in place is the whole of the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY_DTYPES = {np.dtype(np.float32): np.dtype(np.uint32), np.dtype(np.float64): np.dtype(np.uint64)}


@dataclass(frozen=True)
class Rows:
    """Rows in the order of (key, weight). `weights` float64 [N] or None for all 1; `counts` int64 [N] or None.

    With `counts`, entry i stands for counts[i] identical rows.
    """

    keys: NDArray
    weights: NDArray | None = None
    counts: NDArray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def num_rows(self) -> int:
        return len(self.keys) if self.counts is None else int(self.counts.sum())

    def part(self, start: int, stop: int) -> "Rows":
        """Entries [start, stop), as views."""
        cut = slice(start, stop)
        return Rows(
            self.keys[cut],
            None if self.weights is None else self.weights[cut],
            None if self.counts is None else self.counts[cut],
        )


def pack(scores: NDArray, labels: NDArray) -> NDArray:
    """Keys of probabilities (float32 -> uint32, float64 -> uint64) [N] with boolean labels [N]."""
    key_dtype = KEY_DTYPES[scores.dtype]
    keys = np.ascontiguousarray(scores).view(key_dtype) << key_dtype.type(1)  # also turns -0.0 into 0.0
    keys |= labels
    return keys


def scores_of(keys: NDArray) -> NDArray:
    """The scores behind keys, float64 [N], exactly."""
    bits = keys >> keys.dtype.type(1)
    return bits.view(np.float32 if keys.dtype == np.uint32 else np.float64).astype(np.float64)


def sort_rows(rows: Rows) -> Rows:
    """The same rows in order. Sorts the keys in place where there is nothing beside them."""
    if rows.weights is None and rows.counts is None:
        rows.keys.sort()
        return rows
    order = np.argsort(rows.keys, kind="stable") if rows.weights is None else np.lexsort((rows.weights, rows.keys))
    return Rows(rows.keys[order], _taken(rows.weights, order), _taken(rows.counts, order))


def merge_rows(pieces: Sequence[Rows]) -> Rows:
    """One ordered set of rows out of several: the result does not depend on how rows were dealt to the pieces."""
    counts = None
    if any(piece.counts is not None for piece in pieces):
        counts = np.concatenate([_counts(piece) for piece in pieces])
    weights = None
    if any(piece.weights is not None for piece in pieces):
        weights = np.concatenate([piece.weights for piece in pieces if piece.weights is not None])
    merged = sort_rows(Rows(np.concatenate([piece.keys for piece in pieces]), weights, counts))
    return merged if counts is None else collapse(merged)


def collapse(rows: Rows) -> Rows:
    """Ordered rows with each run of identical ones as one entry and its count."""
    if len(rows) == 0:
        return Rows(rows.keys, rows.weights, np.zeros(0, np.int64))
    differs = rows.keys[1:] != rows.keys[:-1]
    if rows.weights is not None:
        differs |= rows.weights[1:] != rows.weights[:-1]
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1])
    counts = np.diff(np.append(starts, len(rows))) if rows.counts is None else np.add.reduceat(rows.counts, starts)
    return Rows(rows.keys[starts], _taken(rows.weights, starts), counts)


def _counts(rows: Rows) -> NDArray:
    return np.ones(len(rows), np.int64) if rows.counts is None else rows.counts


def _taken(values: NDArray | None, order: NDArray) -> NDArray | None:
    return None if values is None else values[order]
