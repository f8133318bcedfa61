"""How often each key of a feature occurs, with the texts behind the keys, in memory that grows with the distinct keys alone."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.preparing.id_counts import IdCounter, count_ids
from data.raw.spec_rows import Bags

_MERGE_AT_LEAST = 1 << 14


@dataclass(frozen=True)
class KeyCounts:
    """Distinct keys, uint32 or uint64, ascending; how often each occurs, int64; their texts, where keys stand for texts."""

    keys: np.ndarray
    counts: np.ndarray
    texts: pa.StringArray | None = None

    @classmethod
    def of(cls, bags: Bags, is_counted: np.ndarray) -> "KeyCounts":
        """The keys of some ids of a block: `is_counted` bool, one per id."""
        keys, counts = np.unique(bags.keys[is_counted], return_counts=True)
        if bags.texts is None or bags.text_keys is None:
            return cls(keys, counts.astype(np.int64), bags.texts)
        order = np.argsort(bags.text_keys)
        places = order[np.searchsorted(bags.text_keys, keys, sorter=order)]
        return cls(keys, counts.astype(np.int64), bags.texts.take(pa.array(places)))

    @classmethod
    def none(cls) -> "KeyCounts":
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, places: slice) -> "KeyCounts":
        texts = None if self.texts is None else self.texts[places]
        return KeyCounts(self.keys[places], self.counts[places], texts)

    @property
    def num_bytes(self) -> int:
        return self.keys.nbytes + self.counts.nbytes + (self.texts.nbytes if self.texts is not None else 0)

    def at_least(self, min_count: int) -> "KeyCounts":
        """Those keys that occur so often."""
        kept = self.counts >= min_count
        texts = None if self.texts is None else self.texts.filter(pa.array(kept))
        return KeyCounts(self.keys[kept], self.counts[kept], texts)


class KeyCounter:
    """Counts of uint64 keys."""

    def __init__(self) -> None:
        self._merged: KeyCounts | None = None
        self._pending: list[KeyCounts] = []
        self._num_pending = 0
        self.num_bytes = 0
        """Memory of what is held, in bytes; merging takes some times more for a moment."""

    def add(self, block: KeyCounts) -> None:
        """Merging waits until as much is pending as is merged: O(log n) sorts of a key."""
        self._pending.append(block)
        self._num_pending += len(block)
        self.num_bytes += block.num_bytes
        if self._num_pending >= max(_MERGE_AT_LEAST, len(self._merged) if self._merged else 0):
            self._merge()

    def result(self) -> KeyCounts:
        self._merge()
        return self._merged or KeyCounts.none()

    def _merge(self) -> None:
        pieces = [*([self._merged] if self._merged else []), *self._pending]
        self._pending, self._num_pending = [], 0
        if pieces:
            self._merged = merge_counts(pieces)
            self.num_bytes = self._merged.num_bytes


class PackedCounter:
    """Counts of uint32 keys, an id and its count in 64 bits: twice as fast as KeyCounter, and without texts."""

    def __init__(self) -> None:
        self._counter = IdCounter()

    @property
    def num_bytes(self) -> int:
        return self._counter.num_bytes

    def add(self, packed: np.ndarray) -> None:
        self._counter.add(packed)

    def result(self) -> KeyCounts:
        return KeyCounts(*self._counter.result())


def count_keys(bags: Bags, is_counted: np.ndarray) -> KeyCounts | np.ndarray:
    """What the counter for these keys takes: of uint32 keys PackedCounter, of others KeyCounter."""
    if bags.keys.dtype == np.uint32:
        return count_ids(bags.keys[is_counted])
    return KeyCounts.of(bags, is_counted)


def merge_counts(pieces: list[KeyCounts]) -> KeyCounts:
    """The sums of several counts, by key. Of two texts of a key the first is kept."""
    if len(pieces) == 1:
        return pieces[0]
    keys = np.concatenate([piece.keys for piece in pieces])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_start = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_start[1:])
    starts = np.flatnonzero(is_start)
    counts = np.concatenate([piece.counts for piece in pieces])[order]
    texts = [piece.texts for piece in pieces if piece.texts is not None]
    return KeyCounts(
        keys[starts],
        np.add.reduceat(counts, starts) if len(starts) else counts,
        pa.concat_arrays(texts).take(pa.array(order[starts])) if texts else None,
    )
