"""Statistics of the train split, gathered block by block.

Legend: n train rows of a block.
"""

from dataclasses import dataclass

import numpy as np

from data.criteo import NUM_SPARSE
from data.manifest import TOP_COUNTS, DenseStatistics, SparseStatistics
from data.preparing.id_counts import IdCounter, count_ids

_SUM_SCALE = 1 << 20


@dataclass(frozen=True)
class BlockIdCounts:
    """What one block adds: packed counts of each feature's ids, and how many are missing."""

    num_rows: int
    packed: list[np.ndarray]
    num_missing: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, missing: np.ndarray, is_train: np.ndarray) -> "BlockIdCounts":
        """Count the train rows of a block: ids [26, rows], uint32 or table rows, with their mask."""
        kept = is_train & ~missing
        packed = [count_ids(row[keep]) for row, keep in zip(ids, kept, strict=True)]
        num_rows = int(is_train.sum())
        return cls(num_rows, packed, num_rows - kept.sum(axis=1))


class IdCounts:
    """Counts of every feature's ids in the train split."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.num_missing = np.zeros(NUM_SPARSE, dtype=np.int64)
        self._counters = [IdCounter() for _ in range(NUM_SPARSE)]

    def add(self, block: BlockIdCounts) -> None:
        self.num_rows += block.num_rows
        self.num_missing += block.num_missing
        for counter, packed in zip(self._counters, block.packed, strict=True):
            counter.add(packed)

    def take(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct ids and counts of a feature; they are given up here, so that they need not be held twice."""
        counter, self._counters[feature] = self._counters[feature], IdCounter()
        return counter.result()

    def statistics(self, feature: int, counts: np.ndarray, min_count: int) -> SparseStatistics:
        """Figures of a feature from the counts of its distinct ids. Ids below `min_count` look up row 0."""
        num_rows = max(1, self.num_rows)
        falling = np.sort(counts)[::-1]
        cumulative = np.cumsum(falling)
        mass = {
            top: float(cumulative[min(top, len(counts)) - 1]) / num_rows if len(counts) else 0.0 for top in TOP_COUNTS
        }
        return SparseStatistics(
            num_ids=len(counts),
            missing_rate=float(self.num_missing[feature]) / num_rows,
            unmapped_rate=float(self.num_missing[feature] + counts[counts < min_count].sum()) / num_rows,
            top_mass=mass,
        )


class DenseSums:
    """Sums over the train split for the mean and standard deviation of every dense column.

    Sums are of whole numbers of 2 ** -20, so they do not depend on how the rows were cut into blocks.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._totals = np.zeros((4, len(names)), dtype=np.int64)

    def add(self, sums: np.ndarray) -> None:
        """Add what `dense_sums` returned for a block."""
        self._totals += sums

    def statistics(self) -> dict[str, DenseStatistics]:
        _, num_missing, total, squares = self._totals / np.maximum(self._totals[0], 1)
        mean, mean_square = total / _SUM_SCALE, squares / _SUM_SCALE
        std = np.sqrt(np.maximum(mean_square - mean**2, 0))
        return {
            name: DenseStatistics(missing_rate=float(num_missing[i]), mean=float(mean[i]), std=float(std[i]))
            for i, name in enumerate(self._names)
        }


def dense_sums(dense: np.ndarray, missing: np.ndarray, is_train: np.ndarray) -> np.ndarray:
    """int64 [4, columns]: train rows, missing ones, sum and sum of squares (in 2 ** -20) of dense columns [columns, n]."""
    values = np.where(is_train, dense, 0).astype(np.float64)
    num_rows = np.full(len(dense), np.count_nonzero(is_train))
    num_missing = np.count_nonzero(missing & is_train, axis=1)
    return np.stack([num_rows, num_missing, _scaled_sum(values), _scaled_sum(values**2)])


def _scaled_sum(values: np.ndarray) -> np.ndarray:
    return np.rint(values * _SUM_SCALE).astype(np.int64).sum(axis=1)
