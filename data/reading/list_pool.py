"""Decoded bags at hand: the lists of one feature, row group by row group, from which the bags of many rows are gathered.

Every slot of the pool has room for the same number of ids; it grows when a row group holds more.

Legend: G rows of a row group, n rows to gather.
"""

from dataclasses import dataclass

import numpy as np

_SPARE = 1.25


@dataclass(frozen=True)
class GatheredBags:
    """`lengths` int32 [n]; `ids`, and `weights` float32 or none, bag after bag."""

    lengths: np.ndarray
    ids: np.ndarray
    weights: np.ndarray | None


@dataclass(frozen=True)
class _Arrays:
    """What is replaced as a whole when it grows, so that who gathers at the same time sees the old or the new, never both.

    `capacity`: ids that a slot has room for. `starts` int32: where the bag of a row begins in its slot.
    """

    capacity: int
    starts: np.ndarray
    lengths: np.ndarray
    ids: np.ndarray
    weights: np.ndarray | None


class ListPool:
    """Lists of one feature by slot. One thread allocates and fills slots; another may gather from filled ones meanwhile."""

    def __init__(self, group_rows: int, dtype: type[np.signedinteger], is_weighted: bool) -> None:
        self._group_rows, self._dtype, self._is_weighted = group_rows, dtype, is_weighted
        self._num_slots, self._capacity = 0, 1
        self._arrays = self._empty(0, 1)

    def allocate(self, num_slots: int) -> None:
        """Make room for this many row groups; those at hand keep their slots."""
        self._resize(num_slots, self._capacity)

    def fill(self, slot: int, offsets: np.ndarray, ids: np.ndarray, weights: np.ndarray | None) -> None:
        """Put a row group's lists into a slot: row i has ids[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]]."""
        if len(ids) > self._capacity:
            # Lists of one length fill every slot alike: no room to spare, and bags begin at multiples of their length.
            is_even = len(ids) == (len(offsets) - 1) * int(offsets[1] - offsets[0])
            self._resize(self._num_slots, len(ids) if is_even else int(len(ids) * _SPARE))
        arrays, first, start = self._arrays, slot * self._group_rows, slot * self._capacity
        rows = slice(first, first + len(offsets) - 1)
        np.subtract(offsets[:-1], offsets[0], out=arrays.starts[rows])
        np.subtract(offsets[1:], offsets[:-1], out=arrays.lengths[rows])
        arrays.ids[start : start + len(ids)] = ids
        if arrays.weights is not None:
            arrays.weights[start : start + len(ids)] = weights

    def gather(self, addresses: np.ndarray) -> GatheredBags:
        """The bags of the rows at these addresses, int64 [n]: slot times G plus the row's place in its row group."""
        arrays = self._arrays
        lengths = arrays.lengths[addresses]
        starts = arrays.starts[addresses] + addresses // self._group_rows * arrays.capacity
        if len(lengths) and (length := int(lengths[0])) > 1 and _are_even(arrays, starts, lengths):
            taken = [_even_bags(values, starts, length) for values in (arrays.ids, arrays.weights)]
            assert taken[0] is not None
            return GatheredBags(lengths, taken[0], taken[1])
        ends = np.cumsum(lengths, dtype=np.int64)
        num_ids = int(ends[-1]) if len(ends) else 0
        # The k-th id of all lies where its bag starts, plus its place in the bag. Half the bytes where numbers are small enough.
        kind = np.int32 if max(len(arrays.ids), num_ids) < 2**31 else np.int64
        places = np.repeat((starts - ends + lengths).astype(kind), lengths)
        places += np.arange(num_ids, dtype=kind)
        weights = None if arrays.weights is None else arrays.weights[places]
        return GatheredBags(lengths, arrays.ids[places], weights)

    def _resize(self, num_slots: int, capacity: int) -> None:
        old, new, held = self._arrays, self._empty(num_slots, capacity), self._num_slots
        new.starts[: len(old.starts)], new.lengths[: len(old.lengths)] = old.starts, old.lengths
        new.ids.reshape(num_slots, capacity)[:held, : self._capacity] = old.ids.reshape(held, self._capacity)
        if new.weights is not None and old.weights is not None:
            weights = old.weights.reshape(held, self._capacity)
            new.weights.reshape(num_slots, capacity)[:held, : self._capacity] = weights
        self._arrays, self._num_slots, self._capacity = new, num_slots, capacity

    def _empty(self, num_slots: int, capacity: int) -> _Arrays:
        num_rows = num_slots * self._group_rows
        # Lengths of 0: rows that were never filled, evaluation's padding row among them, have an empty bag.
        return _Arrays(
            capacity=capacity,
            starts=np.zeros(num_rows, np.int32),
            lengths=np.zeros(num_rows, np.int32),
            ids=np.empty(num_slots * capacity, self._dtype),
            weights=np.empty(num_slots * capacity, np.float32) if self._is_weighted else None,
        )


def _are_even(arrays: _Arrays, starts: np.ndarray, lengths: np.ndarray) -> bool:
    """Whether all bags have one length and begin at multiples of it."""
    length = int(lengths[0])
    return arrays.capacity % length == 0 and bool((lengths == length).all()) and not (starts % length).any()


def _even_bags(values: np.ndarray | None, starts: np.ndarray, length: int) -> np.ndarray | None:
    """Whole bags are taken at once, many times faster than their ids one by one."""
    return None if values is None else values.reshape(-1, length).take(starts // length, axis=0).reshape(-1)
