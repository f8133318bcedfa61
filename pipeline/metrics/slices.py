"""Where a model is good and where it is not: exact metrics by the values of a column, and AUC within groups."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.placements import score_order
from pipeline.metrics.summary import evaluate_arrays

ALL_OTHERS = "all others"
MISSING = "missing"
FREQUENCY_BOUNDS = (1, 10, 100, 1_000, 10_000)


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column, and their metrics."""

    value: str
    evaluation: Evaluation


@dataclass(frozen=True)
class GroupedAuc:
    """Mean AUC within groups: how well rows of the same user or query are ranked among themselves.

    `auc` weights each group's AUC by its rows (or summed weights): GAUC of Zhu et al. 2017, "Optimized cost per click in Taobao
    display advertising". Groups of one class have no AUC and are left out; `num_groups` counts those with one.
    """

    auc: float
    num_groups: int
    num_one_class_groups: int
    share_of_rows: float


def slice_metrics(
    values: list[str], codes: NDArray, scores: NDArray, labels: NDArray, weights: NDArray | None = None
) -> list[Slice]:
    """Metrics of the rows of each value, in the order of `values`; `codes` int [N] point into it. Empty slices are left out."""
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(values) + 1))
    result = []
    for value, start, end in zip(values, ends[:-1], ends[1:], strict=True):
        rows = order[start:end]
        if len(rows):
            chosen_weights = None if weights is None else weights[rows]
            result.append(Slice(value, evaluate_arrays(scores[rows], labels[rows], chosen_weights)))
    return result


def encoded(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray]:
    """The distinct values of a column, missing among them, and each row's code [N] that points into them."""
    array = column.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    result = array.dictionary_encode(null_encoding="encode")
    return result.dictionary, result.indices.to_numpy(zero_copy_only=False)


def value_codes(column: pa.ChunkedArray, max_values: int) -> tuple[list[str], NDArray]:
    """Names of a column's values and each row's code [N]: in their own order, the rarest pooled if over `max_values`."""
    dictionary, codes = encoded(column)
    counts = np.bincount(codes, minlength=len(dictionary))
    kept = np.sort(np.argsort(-counts, kind="stable")[:max_values])
    sorted_kept = _in_value_order(dictionary, kept)
    new_codes = np.full(len(dictionary), len(kept))
    new_codes[sorted_kept] = np.arange(len(kept))
    names = [MISSING if dictionary[int(at)].as_py() is None else str(dictionary[int(at)].as_py()) for at in sorted_kept]
    return [*names, ALL_OTHERS], new_codes[codes]


def frequency_codes(values: NDArray, seen: NDArray) -> tuple[list[str], NDArray]:
    """Buckets by how often each row's id occurs in `seen` (the train split, or the scored rows), and each row's bucket [N].

    `values`: int64 ids [N]; `seen`: int64 ids [M].
    """
    distinct, counts = np.unique(seen, return_counts=True)
    at = np.minimum(np.searchsorted(distinct, values), max(len(distinct) - 1, 0))
    times = np.where(distinct[at] == values, counts[at], 0) if len(distinct) else np.zeros(len(values), np.int64)
    lows = [0, *FREQUENCY_BOUNDS]
    names = ["never"]
    names += [f"{low:,} to {high - 1:,} times" for low, high in pairwise(lows[1:])]
    return [*names, f"{lows[-1]:,} times or more"], np.searchsorted(lows, times, side="right") - 1


def grouped_auc(groups: NDArray, scores: NDArray, labels: NDArray, weights: NDArray | None = None) -> GroupedAuc:
    """The GroupedAuc of rows in groups: `groups` int [N] (any codes), scores and bool labels [N], weights [N].

    All groups at once: rows sorted by (group, score), pairs counted within each stretch of one group.
    """
    order = score_order(scores)
    order = order[np.argsort(groups[order], kind="stable")]
    g, s, y = groups[order], scores[order], labels[order].astype(bool)
    w = np.ones(len(g)) if weights is None else weights[order]
    new_group = np.concatenate([[True], g[1:] != g[:-1]])
    ties = np.flatnonzero(new_group | np.concatenate([[True], s[1:] != s[:-1]]))
    starts = np.flatnonzero(new_group[ties])  # the first tie of each group
    positives, negatives = np.add.reduceat(w * y, ties), np.add.reduceat(w * ~y, ties)
    below = np.cumsum(negatives) - negatives
    below -= np.repeat(below[starts], np.diff(np.append(starts, len(ties))))
    won = np.add.reduceat(positives * (below + negatives / 2), starts)
    pairs = np.add.reduceat(positives, starts) * np.add.reduceat(negatives, starts)
    size = np.add.reduceat(positives + negatives, starts)
    usable = pairs > 0
    if not usable.any():
        return GroupedAuc(float("nan"), 0, len(starts), 0.0)
    auc = float(np.average(won[usable] / pairs[usable], weights=size[usable]))
    return GroupedAuc(auc, int(usable.sum()), int((~usable).sum()), float(size[usable].sum() / size.sum()))


def _in_value_order(dictionary: pa.Array, kept: NDArray) -> NDArray:
    """Numbers by size, words by alphabet, missing last."""
    values = dictionary.take(pa.array(kept)).to_pylist()
    order = sorted(range(len(kept)), key=lambda at: (values[at] is None, 0 if values[at] is None else values[at]))
    return kept[order]
