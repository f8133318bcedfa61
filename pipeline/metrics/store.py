"""Any number of scored rows in bounded memory: a buffer of keys that is sorted and spilled to disk whenever it is full."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.reading.pages import paged_array
from pipeline.metrics.rows import Rows, collapse, merge_rows, sort_rows

SECTION_ENTRIES = 1 << 20  # entries of a spilled run that are read at a time


@dataclass(frozen=True)
class _SpilledRun:
    """One ordered run on disk: a flat file per column that the run has."""

    path: Path
    num_entries: int
    key_dtype: np.dtype
    has_weights: bool
    has_counts: bool

    def part(self, start: int, stop: int) -> Rows:
        return Rows(
            self._column("keys", self.key_dtype, start, stop),
            self._column("weights", np.dtype(np.float64), start, stop) if self.has_weights else None,
            self._column("counts", np.dtype(np.int64), start, stop) if self.has_counts else None,
        )

    def __len__(self) -> int:
        return self.num_entries

    def _column(self, name: str, dtype: np.dtype, start: int, stop: int) -> NDArray:
        path = self.path.with_suffix(f".{name}")
        return np.fromfile(path, dtype, count=stop - start, offset=start * dtype.itemsize)


class RowStore:
    """Takes batches of keys in any order; afterwards answers for any range of keys, in order.

    `memory_bytes` bounds the buffer and what sorting it needs; pages that were never written cost nothing, so a small
    evaluation stays small. Spilled runs lie in a directory of their own under `spill_dir` (the system's temporary directory
    by default) until `close`.
    """

    def __init__(
        self, key_dtype: np.dtype, *, weighted: bool, memory_bytes: int, spill_dir: Path | None = None
    ) -> None:
        # Sorting with a weight column takes an order (8 bytes) and a sorted copy beside the buffer.
        bytes_per_row = key_dtype.itemsize if not weighted else 2 * (key_dtype.itemsize + 8) + 8
        self.capacity = max(memory_bytes // bytes_per_row, 1024)
        self.key_dtype = np.dtype(key_dtype)
        self.weighted = weighted
        self._keys = paged_array((self.capacity,), key_dtype)
        self._weights = paged_array((self.capacity,), np.float64) if weighted else None
        self._used = 0
        self._spill_root = spill_dir
        self._spill_dir: Path | None = None
        self._spilled: list[_SpilledRun] = []
        self._ordered: Rows | None = None

    @property
    def num_spilled_runs(self) -> int:
        return len(self._spilled)

    def add(self, keys: NDArray, weights: NDArray | None = None) -> None:
        """Takes `keys` [N] (and weights float64 [N] where the store is weighted)."""
        assert self._ordered is None, "rows were already read"
        start = 0
        while start < len(keys):
            if self._used == self.capacity:
                self._spill()
            take = min(len(keys) - start, self.capacity - self._used)
            self._keys[self._used : self._used + take] = keys[start : start + take]
            if self._weights is not None:
                assert weights is not None
                self._weights[self._used : self._used + take] = weights[start : start + take]
            self._used += take
            start += take

    def key_range(self) -> tuple[int, int] | None:
        """Smallest and largest key; None for an empty store."""
        ends = [run.part(at, at + 1).keys[0] for run in self._runs() if len(run) for at in (0, len(run) - 1)]
        return (int(min(ends)), int(max(ends))) if ends else None

    def entries_below(self, edges: NDArray) -> list[NDArray]:
        """Per run, how many entries lie below each of the keys `edges`: int64 [E] each."""
        return [sum_below(run, edges)[0] for run in self._runs()]

    def rows_below(self, edges: NDArray) -> NDArray:
        """How many rows lie below each of the keys `edges`: int64 [E]."""
        return np.sum([sum_below(run, edges)[1] for run in self._runs()], axis=0)

    def between(self, starts: list[int], stops: list[int]) -> Rows:
        """The rows at [starts[i], stops[i]) of run i, merged into one order."""
        pieces = [_piece(run, *cut) for run, *cut in zip(self._runs(), starts, stops, strict=True)]
        return pieces[0] if len(pieces) == 1 else merge_rows(pieces)

    def close(self) -> None:
        """Removes the spilled runs."""
        if self._spill_dir is not None:
            shutil.rmtree(self._spill_dir, ignore_errors=True)
            self._spill_dir = None

    def __del__(self) -> None:
        if getattr(self, "_spill_dir", None) is not None:
            self.close()

    def _runs(self) -> list["_SpilledRun | Rows"]:
        if self._ordered is None:
            self._ordered = self._sorted_buffer()
        return [*self._spilled, self._ordered]

    def _sorted_buffer(self) -> Rows:
        weights = None if self._weights is None else self._weights[: self._used]
        return _smaller(sort_rows(Rows(self._keys[: self._used], weights)))

    def _spill(self) -> None:
        if self._spill_dir is None:
            self._spill_dir = Path(tempfile.mkdtemp(prefix="shardline-scores-", dir=self._spill_root))
        rows = self._sorted_buffer()
        path = self._spill_dir / f"run-{len(self._spilled):05d}"
        for name in ("keys", "weights", "counts"):
            column = getattr(rows, name)
            if column is not None:
                column.tofile(path.with_suffix(f".{name}"))
        run = _SpilledRun(path, len(rows), self.key_dtype, rows.weights is not None, rows.counts is not None)
        self._spilled.append(run)
        self._used = 0


def sum_below(run: _SpilledRun | Rows, edges: NDArray) -> tuple[NDArray, NDArray]:
    """How many entries, and how many rows, of one ordered run lie below each edge: int64 [E] each."""
    entries = np.zeros(len(edges), np.int64)
    rows = np.zeros(len(edges), np.int64)
    for section in _sections(run):
        below = np.searchsorted(section.keys, edges)
        entries += below
        rows += below if section.counts is None else np.append(0, np.cumsum(section.counts))[below]
    return entries, rows


def _sections(run: _SpilledRun | Rows) -> Iterator[Rows]:
    if isinstance(run, Rows):
        yield run
        return
    for start in range(0, len(run), SECTION_ENTRIES):
        yield run.part(start, min(start + SECTION_ENTRIES, len(run)))


def _piece(run: _SpilledRun | Rows, start: int, stop: int) -> Rows:
    """Entries [start, stop) of a run. Blocks are small, so a long piece is one score that many rows share: it is counted."""
    if stop - start <= SECTION_ENTRIES:
        return run.part(start, stop)
    cuts = range(start, stop, SECTION_ENTRIES)
    return merge_rows([collapse(run.part(cut, min(cut + SECTION_ENTRIES, stop))) for cut in cuts])


def _smaller(rows: Rows) -> Rows:
    """Ordered rows, with identical ones counted instead of kept where that saves memory."""
    starts = range(0, len(rows), SECTION_ENTRIES)
    sections = (rows.keys[start : start + SECTION_ENTRIES] for start in starts)
    num_keys = sum(int(np.count_nonzero(keys[1:] != keys[:-1])) for keys in sections)
    return collapse(rows) if num_keys * 4 < len(rows) else rows
