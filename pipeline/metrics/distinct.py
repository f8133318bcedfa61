"""One block of rows as its distinct scores, each with its positives and negatives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.rows import Rows, collapse, scores_of


@dataclass(frozen=True)
class Distinct:
    """Distinct scores, highest first, float64 [S], and what lies on each of them, all [S].

    `positives`, `negatives`: summed weights (int64 counts where there are no weights). `*_squared`: summed squared weights
    (the same arrays where there are no weights). `num_positives`, `num_negatives`: rows, int64.
    """

    scores: NDArray
    positives: NDArray
    negatives: NDArray
    positives_squared: NDArray
    negatives_squared: NDArray
    num_positives: NDArray
    num_negatives: NDArray


def distinct_scores(rows: Rows) -> Distinct:
    """Groups ordered rows by score. Sums run in the order of (score, label, weight): no arrangement of rows moves a bit."""
    if rows.weights is not None:
        rows = collapse(rows)  # w + w + w and 3 * w may differ in the last bit: always count first
    bits = rows.keys >> rows.keys.dtype.type(1)
    starts = np.concatenate([[0], np.flatnonzero(bits[1:] != bits[:-1]) + 1])
    is_positive = rows.keys & rows.keys.dtype.type(1)
    scores = scores_of(rows.keys[starts])[::-1]
    num_positives, num_negatives = _counts(rows, is_positive, starts)
    if rows.weights is None:
        return Distinct(
            scores, num_positives, num_negatives, num_positives, num_negatives, num_positives, num_negatives
        )
    positives, negatives, positives_squared, negatives_squared = (
        np.add.reduceat(power * chosen, starts)[::-1]
        for power in _powers(rows)
        for chosen in (is_positive, 1 - is_positive)
    )
    return Distinct(scores, positives, negatives, positives_squared, negatives_squared, num_positives, num_negatives)


def _counts(rows: Rows, is_positive: NDArray, starts: NDArray) -> tuple[NDArray, NDArray]:
    if rows.counts is None:
        num_rows = np.diff(np.append(starts, len(rows)))
        through = np.cumsum(is_positive, dtype=np.int64)[np.append(starts[1:], len(rows)) - 1]
        num_positives = np.diff(through, prepend=0)
    else:
        num_rows = np.add.reduceat(rows.counts, starts)
        num_positives = np.add.reduceat(rows.counts * is_positive.astype(np.int64), starts)
    return num_positives[::-1], (num_rows - num_positives)[::-1]


def _powers(rows: Rows) -> tuple[NDArray, NDArray]:
    """Weight and squared weight of each entry."""
    assert rows.weights is not None
    counts = 1 if rows.counts is None else rows.counts
    return rows.weights * counts, rows.weights**2 * counts
