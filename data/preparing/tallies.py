"""What is gathered over the train rows: counts of ids, lengths of lists, sums of numbers. Blocks may be added in any order.

Legend: n rows of a block.
"""

from dataclasses import dataclass

import numpy as np

from data.manifest import TOP_COUNTS, DenseStatistics, SparseStatistics
from data.preparing.exact_sums import ColumnSums, NumberSums
from data.preparing.key_counts import KeyCounter, KeyCounts, PackedCounter, count_keys
from data.raw.spec_rows import Bags


@dataclass(frozen=True)
class BagTally:
    """What one block adds for one sparse feature: its train rows, those without an id, the ids, and how often each occurs."""

    num_rows: int
    num_missing: int
    num_ids: int
    counts: KeyCounts | np.ndarray

    @classmethod
    def of(cls, bags: Bags, is_train: np.ndarray) -> "BagTally":
        """Count the ids of the train rows (is_train bool [n])."""
        is_counted = bags.per_id(is_train) & ~bags.missing
        num_rows, num_ids = int(np.count_nonzero(is_train)), int(np.count_nonzero(is_counted))
        empty = num_rows - num_ids if bags.lengths is None else np.count_nonzero(is_train & (bags.lengths == 0))
        return cls(num_rows, int(empty), num_ids, count_keys(bags, is_counted))


class FeatureTally:
    """The tally of one sparse feature over blocks."""

    def __init__(self) -> None:
        self.num_rows, self.num_missing, self.num_ids = 0, 0, 0
        self._counter: KeyCounter | PackedCounter | None = None

    def add(self, block: BagTally) -> None:
        self.num_rows += block.num_rows
        self.num_missing += block.num_missing
        self.num_ids += block.num_ids
        if isinstance(block.counts, KeyCounts):
            self._counter = self._counter or KeyCounter()
        else:
            self._counter = self._counter or PackedCounter()
        self._counter.add(block.counts)  # pyright: ignore[reportArgumentType]

    @property
    def mean_ids(self) -> float:
        """Ids per train row."""
        return self.num_ids / max(1, self.num_rows)

    def take(self) -> KeyCounts:
        """The counts of all ids; they are given up here, so that they need not be held twice."""
        counter, self._counter = self._counter, None
        return counter.result() if counter else KeyCounts(np.empty(0, np.uint64), np.empty(0, np.int64))

    def statistics(self, counts: np.ndarray, num_unmapped: int) -> SparseStatistics:
        """Figures from the counts of the distinct ids, `num_unmapped` of which (not distinct) look up row 0.

        A row without an id looks up row 0 too, unless the feature is a list: then its bag is empty, and masses and the unmapped
        rate are fractions of the ids.
        """
        is_list = self.num_ids + self.num_missing != self.num_rows
        whole = max(1, self.num_ids if is_list else self.num_rows)
        cumulative = np.cumsum(np.sort(counts)[::-1])
        mass = {top: float(cumulative[min(top, len(counts)) - 1]) / whole if len(counts) else 0.0 for top in TOP_COUNTS}
        return SparseStatistics(
            num_ids=len(counts),
            missing_rate=self.num_missing / max(1, self.num_rows),
            unmapped_rate=(num_unmapped + (0 if is_list else self.num_missing)) / whole,
            top_mass=mass,
        )


@dataclass(frozen=True)
class BlockTally:
    """What one block adds: by name of the feature."""

    sparse: dict[str, BagTally]
    dense: dict[str, ColumnSums]


class Tally:
    """Tallies of all features that any block brought, by name."""

    def __init__(self) -> None:
        self.sparse: dict[str, FeatureTally] = {}
        self.dense: dict[str, NumberSums] = {}

    def add(self, block_tally: BlockTally) -> None:
        for name, bags in block_tally.sparse.items():
            self.sparse.setdefault(name, FeatureTally()).add(bags)
        for name, sums in block_tally.dense.items():
            self.dense.setdefault(name, NumberSums()).add(sums)


def dense_statistics(sums: NumberSums) -> DenseStatistics:
    """Figures of a stored number over the train rows."""
    mean, std = sums.mean_and_std()
    return DenseStatistics(missing_rate=sums.missing_rate, mean=mean, std=std)
