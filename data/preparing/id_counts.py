"""How often each id occurs, counted block by block in memory that grows with the distinct ids alone."""

import numpy as np

_MERGE_AT_LEAST = 1 << 14
_HALF = np.uint64(32)


class IdCounter:
    """Counts of uint32 ids. Id and count share a uint64 (id in the upper half), so that one plain sort merges runs of them."""

    def __init__(self) -> None:
        self._merged = np.empty(0, dtype=np.uint64)
        self._pending: list[np.ndarray] = []
        self._num_pending = 0

    def add(self, counted: np.ndarray) -> None:
        """Add what `count_ids` returned. Merging waits until as much is pending as is merged: O(log n) sorts of an id."""
        self._pending.append(counted)
        self._num_pending += len(counted)
        if self._num_pending >= max(_MERGE_AT_LEAST, len(self._merged)):
            self._merge()

    @property
    def num_bytes(self) -> int:
        """Memory of what is held, in bytes; merging takes some times more for a moment."""
        return self._merged.nbytes + 8 * self._num_pending

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct ids, uint32, ascending, and their counts, int64."""
        self._merge()
        return (self._merged >> _HALF).astype(np.uint32), (self._merged & np.uint64(2**32 - 1)).astype(np.int64)

    def _merge(self) -> None:
        both = np.concatenate([self._merged, *self._pending])
        self._pending, self._num_pending = [], 0
        both.sort()
        starts = _run_starts(both >> _HALF)
        if len(starts) < len(both):
            counts = np.add.reduceat(both & np.uint64(2**32 - 1), starts)
            both = (both[starts] & ~np.uint64(2**32 - 1)) | counts
        self._merged = both


def count_ids(ids: np.ndarray) -> np.ndarray:
    """The distinct ids of a block with their counts, packed as `IdCounter` takes them; uint64, ascending."""
    ids = np.sort(ids)
    starts = _run_starts(ids)
    packed = ids[starts].astype(np.uint64)
    packed <<= _HALF
    packed[:-1] |= (starts[1:] - starts[:-1]).view(np.uint64)
    packed[-1:] |= np.uint64(len(ids)) - starts[-1:].view(np.uint64)
    return packed


def count_ids_of_many(ids: np.ndarray) -> list[np.ndarray]:
    """`count_ids` of every row of ids, uint32 [features, n], all at once: a few calls for all of them."""
    num_features, num_ids = ids.shape
    if not num_ids:
        return [count_ids(row) for row in ids]
    ids = np.sort(ids, axis=1)
    is_start = np.ones(ids.shape, dtype=bool)
    np.not_equal(ids[:, 1:], ids[:, :-1], out=is_start[:, 1:])
    starts = np.flatnonzero(is_start)
    packed = ids.reshape(-1)[starts].astype(np.uint64)
    packed <<= _HALF
    packed[:-1] |= (starts[1:] - starts[:-1]).view(np.uint64)
    packed[-1:] |= np.uint64(ids.size) - starts[-1:].view(np.uint64)
    ends = np.searchsorted(starts, np.arange(1, num_features) * num_ids)
    # Copies: a view of few counts would keep the counts of all features from being freed.
    return [counts.copy() for counts in np.split(packed, ends)]


def _run_starts(ascending: np.ndarray) -> np.ndarray:
    is_start = np.ones(len(ascending), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=is_start[1:])
    return np.flatnonzero(is_start)
