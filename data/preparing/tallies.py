"""What is gathered over the train rows: counts of ids, lengths of lists, sums of numbers. Blocks may be added in any order.

Legend: n rows of a block.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from data.manifest import TOP_COUNTS, DenseStatistics, SparseStatistics
from data.preparing.count_runs import Run, RunFolder, SpilledCounts
from data.preparing.exact_sums import ColumnSums, NumberSums
from data.preparing.id_counts import count_ids_of_many
from data.preparing.key_counts import KeyCounter, KeyCounts, PackedCounter, count_keys
from data.preparing.row_counts import LookedUpRows, RowCounter
from data.raw.spec_rows import Bags

# What is held is copied, sorted and copied again where it is merged: all of it at once, if all is of one feature.
_PEAK_OF_HELD = 4
_MOST_IDS_IN_MEMORY = 1 << 31


@dataclass(frozen=True)
class BagTally:
    """What one block adds for one sparse feature: its train rows, those without an id, the ids, and how often each occurs."""

    num_rows: int
    num_missing: int
    num_ids: int
    counts: KeyCounts | LookedUpRows | np.ndarray

    @classmethod
    def of(cls, bags: Bags, is_train: np.ndarray, num_embeddings: int | None = None) -> "BagTally":
        """Count the ids of the train rows (is_train bool [n]), unless they are rows of a small table of `num_embeddings`."""
        is_counted = bags.per_id(is_train) & ~bags.missing
        num_rows, num_ids = int(np.count_nonzero(is_train)), int(np.count_nonzero(is_counted))
        empty = num_rows - num_ids if bags.lengths is None else np.count_nonzero(is_train & (bags.lengths == 0))
        if num_embeddings is not None:
            return cls(num_rows, int(empty), num_ids, LookedUpRows(bags.keys[is_counted], num_embeddings))
        return cls(num_rows, int(empty), num_ids, count_keys(bags, is_counted))

    @classmethod
    def of_all(cls, bags: Mapping[str, Bags], is_train: np.ndarray, small: Mapping[str, int]) -> dict[str, "BagTally"]:
        """The tallies of several features: those with one uint32 key a row are counted together, which is faster.

        `small`: the rows of the table of those features whose keys are rows of a small one.
        """
        alike = {
            name: each
            for name, each in bags.items()
            if name not in small and each.lengths is None and each.keys.dtype == np.uint32
        }
        others = {name: cls.of(each, is_train, small.get(name)) for name, each in bags.items() if name not in alike}
        if not alike:
            return others
        keys = np.array([each.keys for each in alike.values()]).compress(is_train, axis=1)
        missing = np.array([each.missing for each in alike.values()]).compress(is_train, axis=1)
        num_rows, num_missing = keys.shape[1], np.count_nonzero(missing, axis=1).tolist()
        # A missing id has key 0: what is counted of it is taken off again.
        keys[missing] = 0
        counts = [_without_zeros(*each) for each in zip(count_ids_of_many(keys), num_missing, strict=True)]
        return others | {
            name: cls(num_rows, lacking, num_rows - lacking, each)
            for name, lacking, each in zip(alike, num_missing, counts, strict=True)
        }


@dataclass(frozen=True)
class CountFigures:
    """What statistics need of the counts of a feature's distinct ids: how many there are, and the largest, falling."""

    num_distinct: int
    largest: np.ndarray
    num_unmapped: int

    @classmethod
    def of(
        cls, counts: Iterable[KeyCounts], is_unmapped: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> "CountFigures":
        """`is_unmapped`: which of some keys look up row 0; none where no key does."""
        num_distinct, num_unmapped, largest = 0, 0, np.empty(0, np.int64)
        for piece in counts:
            num_distinct += len(piece)
            largest = np.sort(np.concatenate([largest, piece.counts]))[-max(TOP_COUNTS) :]
            if is_unmapped is not None:
                num_unmapped += int(piece.counts[is_unmapped(piece.keys)].sum())
        return cls(num_distinct, largest[::-1], num_unmapped)


class FeatureTally:
    """The tally of one sparse feature over blocks."""

    def __init__(self) -> None:
        self.num_rows, self.num_missing, self.num_ids = 0, 0, 0
        self.runs: list[Run] = []
        self._counter: KeyCounter | PackedCounter | RowCounter | None = None
        self._num_ids_in_memory = 0

    def add(self, block: BagTally) -> None:
        self.num_rows += block.num_rows
        self.num_missing += block.num_missing
        self.num_ids += block.num_ids
        self._num_ids_in_memory += block.num_ids
        self._counter = self._counter or _counter_of(block.counts)
        self._counter.add(block.counts)  # pyright: ignore[reportArgumentType]

    @property
    def num_bytes(self) -> int:
        """Memory of the counts that a file could take, in bytes."""
        return self._counter.num_bytes if self._counter else 0

    @property
    def is_full(self) -> bool:
        """Whether a count in memory, of 32 bits, might not take another block."""
        return self._num_ids_in_memory >= _MOST_IDS_IN_MEMORY

    @property
    def mean_ids(self) -> float:
        """Ids per train row."""
        return self.num_ids / max(1, self.num_rows)

    def spill(self, folder: RunFolder) -> None:
        """Move the counts in memory to a file."""
        self.runs.append(folder.write([self._take()]))

    def counts(self, folder: RunFolder) -> SpilledCounts:
        """The counts of all ids; those in memory are given up here, so that they need not be held twice."""
        return SpilledCounts(folder, self.runs, self._take())

    def statistics(self, figures: CountFigures) -> SparseStatistics:
        """Figures of the feature.

        A row without an id looks up row 0 too, unless the feature is a list: then its bag is empty, and masses and the unmapped
        rate are fractions of the ids.
        """
        is_list = self.num_ids + self.num_missing != self.num_rows
        whole = max(1, self.num_ids if is_list else self.num_rows)
        cumulative = np.cumsum(figures.largest)
        mass = {top: float(cumulative[:top][-1]) / whole if len(cumulative) else 0.0 for top in TOP_COUNTS}
        return SparseStatistics(
            num_ids=figures.num_distinct,
            missing_rate=self.num_missing / max(1, self.num_rows),
            unmapped_rate=(figures.num_unmapped + (0 if is_list else self.num_missing)) / whole,
            top_mass=mass,
        )

    def _take(self) -> KeyCounts:
        counter, self._counter, self._num_ids_in_memory = self._counter, None, 0
        return counter.result() if counter else KeyCounts.none()


@dataclass(frozen=True)
class BlockTally:
    """What one block adds: by name of the feature."""

    sparse: dict[str, BagTally]
    dense: dict[str, ColumnSums]


class Tally:
    """Tallies of all features that any block brought, by name.

    Counts of ids take about `memory_bytes` at most, what merging takes for a moment included: beyond that the largest go to files
    in `folder`. (Those of small tables take a fixed memory of their own.) An unpickled tally, and what is read from it, needs
    the folder again: see `attach`.
    """

    def __init__(self, folder: RunFolder, memory_bytes: int) -> None:
        self.sparse: dict[str, FeatureTally] = {}
        self.dense: dict[str, NumberSums] = {}
        self.attach(folder, memory_bytes)

    def attach(self, folder: RunFolder, memory_bytes: int) -> None:
        """Keep the counts there from now on."""
        self.folder, self._most_held = folder, memory_bytes // _PEAK_OF_HELD

    def add(self, block_tally: BlockTally) -> None:
        for name, bags in block_tally.sparse.items():
            self.sparse.setdefault(name, FeatureTally()).add(bags)
        for name, sums in block_tally.dense.items():
            self.dense.setdefault(name, NumberSums()).add(sums)
        self._spill()

    def runs(self) -> list[Run]:
        """All files that hold counts."""
        return [run for feature in self.sparse.values() for run in feature.runs]

    def counts(self, name: str) -> SpilledCounts:
        """The counts of a feature's ids, given up here; none at all where no block brought the feature."""
        return self.sparse.setdefault(name, FeatureTally()).counts(self.folder)

    def _spill(self) -> None:
        """Move the largest counts to files until half of the memory is free again: small ones would make many small files."""
        for feature in self.sparse.values():
            if feature.is_full:
                feature.spill(self.folder)
        sizes = {name: feature.num_bytes for name, feature in self.sparse.items()}
        num_held = sum(sizes.values())
        if num_held <= self._most_held:
            return
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if num_held <= self._most_held // 2:
                break
            self.sparse[name].spill(self.folder)
            num_held -= sizes[name]


def _counter_of(counts: KeyCounts | LookedUpRows | np.ndarray) -> KeyCounter | PackedCounter | RowCounter:
    """One that takes such counts of blocks."""
    if isinstance(counts, LookedUpRows):
        return RowCounter(counts.num_rows)
    return KeyCounter() if isinstance(counts, KeyCounts) else PackedCounter()


def _without_zeros(packed: np.ndarray, num: int) -> np.ndarray:
    """Counts of ids, packed, with so many fewer of id 0."""
    if not num:
        return packed
    packed[0] -= np.uint64(num)
    return packed if packed[0] & np.uint64(2**32 - 1) else packed[1:]


def dense_statistics(sums: NumberSums) -> DenseStatistics:
    """Figures of a stored number over the train rows."""
    mean, std = sums.mean_and_std()
    return DenseStatistics(missing_rate=sums.missing_rate, mean=mean, std=std)
