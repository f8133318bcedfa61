"""Each row's placement among the rows of the other class: what DeLong's variance and every paired test are made of."""

import numpy as np
from numpy.typing import NDArray


def placements(scores: NDArray, labels: NDArray, weights: NDArray | None = None) -> NDArray:
    """How well each row is placed, float64 [N]; the (weighted) mean over either class is the AUC.

    For a positive the share of negatives below it, for a negative the share of positives above it, ties half: the
    structural components of DeLong et al. 1988, through one sort (Sun & Xu 2014). `scores` float32 or float64 [N],
    finite and not negative; `labels` bool [N], both classes present; `weights` float64 [N].
    """
    order = score_order(scores)
    sorted_scores, is_positive = scores[order], labels[order]
    starts = np.concatenate([[0], np.flatnonzero(sorted_scores[1:] != sorted_scores[:-1]) + 1])
    sizes = np.diff(np.append(starts, len(scores)))
    w = np.ones(len(scores)) if weights is None else weights[order]
    result = np.empty(len(scores))
    on_positives = _share_below(w * ~is_positive, starts)
    on_negatives = 1 - _share_below(w * is_positive, starts)
    result[order] = np.where(is_positive, np.repeat(on_positives, sizes), np.repeat(on_negatives, sizes))
    return result


def score_order(scores: NDArray) -> NDArray:
    """The order that sorts `scores` [N], ties in row order: integers that index them."""
    if scores.dtype != np.float32 or len(scores) >= 2**32:
        return np.argsort(scores, kind="stable")
    # Score bits and row number in one integer: sorting integers in place is several times faster than any argsort.
    keys = (scores + np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(scores), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).view(np.int64)


def _share_below(weights: NDArray, starts: NDArray) -> NDArray:
    """For each group of tied rows, the share of `weights` below it plus half of what lies on it."""
    on_group = np.add.reduceat(weights, starts)
    return (np.cumsum(on_group) - on_group / 2) / on_group.sum()
