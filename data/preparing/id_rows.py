"""From raw ids to table rows: through a map fitted on the train split, or by hashing. Row 0 is for missing, rare, unknown.

Legend: n ids of one feature.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.counter import counters, derive_key, mix

# Fibonacci hashing: an odd factor close to 2**32 (or 2**64) / golden ratio spreads any ids over all buckets.
_SPREAD = {4: np.uint32(0x9E3779B1), 8: np.uint64(0x9E3779B97F4A7C15)}


class IdMap:
    """Rows 1, 2, 3, ... for ids (uint32 or uint64) by falling count (ties: by id); everything else is row 0.

    Looking up walks a short bucket: spread ids are sorted and `starts[b]` is the first of those whose upper bits are b.
    """

    def __init__(self, ids: np.ndarray, counts: np.ndarray, min_count: int) -> None:
        kept = counts >= min_count
        ids, counts = ids[kept], counts[kept]
        order = np.lexsort((ids, -counts))
        self.ids, self.counts = ids[order], counts[order]
        self._order = np.flatnonzero(kept)[order]
        self._spread = _SPREAD[ids.itemsize]
        spread = self.ids * self._spread
        by_spread = np.argsort(spread)
        self._keys = np.append(spread[by_spread], ids.dtype.type(0))
        self._rows = np.append(by_spread + 1, 0).astype(np.int32)
        bits = max(1, len(ids).bit_length())
        self._shift = ids.dtype.type(8 * ids.itemsize - bits)
        self._starts = np.searchsorted(self._keys[:-1] >> self._shift, np.arange((1 << bits) + 1)).astype(np.int32)

    @property
    def num_rows(self) -> int:
        return len(self.ids) + 1

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Table rows of ids, int32 [n]."""
        wanted = ids * self._spread
        bucket = wanted >> self._shift
        place, end = self._starts[bucket], self._starts[bucket + bucket.dtype.type(1)]
        is_hit = (self._keys[place] == wanted) & (place < end)
        rows = np.where(is_hit, self._rows[place], 0)
        todo = np.flatnonzero(~is_hit & (place + 1 < end))
        while len(todo):
            place[todo] += 1
            here = place[todo]
            is_hit = self._keys[here] == wanted[todo]
            rows[todo[is_hit]] = self._rows[here[is_hit]]
            todo = todo[~is_hit & (here + 1 < end[todo])]
        rows[missing] = 0
        return rows

    def table(self, texts: pa.StringArray | None = None, is_signed: bool = False) -> pa.Table:
        """The map as columns id, row (int32), count in train (int64), in row order; row 0 is left out.

        `texts`: the text of every id that was given, in the order given; they take the place of their keys. `is_signed`: the ids
        are the bits of int64.
        """
        ids = self.ids.view(np.int64) if is_signed else self.ids
        column = pa.array(ids) if texts is None else texts.take(pa.array(self._order))
        rows = np.arange(1, self.num_rows, dtype=np.int32)
        return pa.table({"id": column, "row": pa.array(rows), "count": pa.array(self.counts)})


@dataclass(frozen=True)
class IdHash:
    """Row 1 + id modulo (num_rows - 1), or 1 + the id's hash modulo that where there is a seed; 0 where the id is missing."""

    num_rows: int
    seed: int | None = None

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Table rows of ids, int32 [n]."""
        if self.seed is not None:
            ids = mix(counters(ids) + np.uint64(derive_key(self.seed)))
        rows = (ids % ids.dtype.type(self.num_rows - 1)).astype(np.int32) + np.int32(1)
        rows[missing] = 0
        return rows


@dataclass(frozen=True)
class ReadyRows:
    """The ids are table rows already; 0 where the id is missing."""

    num_rows: int

    def rows(self, ids: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Table rows of ids, int32 [n]."""
        rows = ids.astype(np.int32)
        rows[missing] = 0
        return rows
