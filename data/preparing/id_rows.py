"""From raw ids to table rows: through a map fitted on the train split, or by hashing. Row 0 is for missing, rare, unknown.

Legend: n ids of one feature.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.counter import counters, derive_key, mix
from data.preparing.key_counts import KeyCounts

# Places per id in the hash table, at least; at most twice as many.
_ROOM = 1.5
# Fibonacci hashing: an odd factor close to 2**32 (or 2**64) / golden ratio spreads any ids over all buckets.
_SPREAD = {4: np.uint32(0x9E3779B1), 8: np.uint64(0x9E3779B97F4A7C15)}


class IdMap:
    """Rows 1, 2, 3, ... for ids (uint32 or uint64) by falling count (ties: by id); everything else is row 0.

    A hash table with linear probing, filled in the order of the hashes: the upper bits of an id's hash are the place where it
    belongs, and it lies there or as near behind it as there is room. So a search ends at the first hash that is not smaller, and
    hashes are unique: an odd factor gives every id another.
    """

    def __init__(self, ids: np.ndarray, counts: np.ndarray) -> None:
        """`ids` in any order, none twice, and how often each occurs; those that are too rare are left out already."""
        order = id_order(ids, counts)
        self._num_ids = len(ids)
        self._spread = _SPREAD[ids.itemsize]
        hashes = ids[order] * self._spread
        by_hash = np.argsort(hashes)
        hashes = hashes[by_hash]
        bits = max(1, int(len(ids) * _ROOM).bit_length())
        self._shift = ids.dtype.type(8 * ids.itemsize - bits)
        # Behind the one before it, or where it belongs: the largest (place - number) so far, plus its own number.
        numbers = np.arange(len(ids))
        places = np.maximum.accumulate((hashes >> self._shift).astype(np.intp) - numbers) + numbers
        size = max(1 << bits, int(places[-1]) + 1 if len(places) else 0) + 1
        # No hash is larger than that of a free place, so searches end there, with row 0.
        self._hashes = np.full(size, np.iinfo(ids.dtype).max, ids.dtype)
        self._rows = np.zeros(size, np.int32)
        self._hashes[places] = hashes
        self._rows[places] = by_hash + 1

    @property
    def num_rows(self) -> int:
        return self._num_ids + 1

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Table rows of ids, int32 [n]."""
        wanted = ids * self._spread
        places = (wanted >> self._shift).astype(np.intp)
        found = self._hashes.take(places, mode="clip")
        rows = self._rows.take(places, mode="clip")
        rows *= found == wanted
        todo = np.flatnonzero(found < wanted)
        places, wanted = places[todo], wanted[todo]
        while len(todo):
            places += 1
            found = self._hashes.take(places, mode="clip")
            is_hit = found == wanted
            rows[todo[is_hit]] = self._rows.take(places[is_hit], mode="clip")
            is_before = found < wanted
            todo, places, wanted = todo[is_before], places[is_before], wanted[is_before]
        rows *= ~missing
        return rows

    def lacks(self, ids: np.ndarray) -> np.ndarray:
        """Which of the ids have no row of their own; bool [n]."""
        return self.rows(ids, np.zeros(len(ids), dtype=bool)) == 0


def id_order(ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Which id has row 1, which row 2, and so on."""
    return np.lexsort((ids, -counts))


def id_table(kept: KeyCounts, is_signed: bool = False) -> pa.Table:
    """The map of these ids as columns id, row (int32), count in train (int64), in row order; row 0 is left out.

    Texts take the place of their keys. `is_signed`: the keys are the bits of int64.
    """
    order = id_order(kept.keys, kept.counts)
    ids = kept.keys.view(np.int64) if is_signed else kept.keys
    column = pa.array(ids[order]) if kept.texts is None else kept.texts.take(pa.array(order))
    rows = np.arange(1, len(kept) + 1, dtype=np.int32)
    return pa.table({"id": column, "row": pa.array(rows), "count": pa.array(kept.counts[order])})


@dataclass(frozen=True)
class IdHash:
    """Row 1 + id modulo (num_rows - 1), or 1 + the id's hash modulo that where there is a seed; 0 where the id is missing."""

    num_rows: int
    seed: int | None = None

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Table rows of ids, int32 [n]."""
        if self.seed is not None:
            ids = mix(counters(ids) + np.uint64(derive_key(self.seed)))
        # Dividing by one number is done many numbers at a time, taking the remainder is not.
        size = ids.dtype.type(self.num_rows - 1)
        rows = (ids - ids // size * size).astype(np.int32)
        rows += np.int32(1)
        rows *= ~missing
        return rows


@dataclass(frozen=True)
class ReadyRows:
    """The ids are table rows already; 0 where the id is missing."""

    num_rows: int

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Table rows of ids, int32 [n]."""
        rows = ids.astype(np.int32)
        rows *= ~missing
        return rows
