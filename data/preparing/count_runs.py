"""Counts of ids that memory has no room for, in files: sorted runs, read back and merged piece by piece.

A run holds what was counted of one feature over some blocks, keys ascending, as an Arrow file of pieces of _PIECE_KEYS keys:

    run 0       a:3  c:1 | f:2  k:9            merged up to the smallest key that ends a piece (here d):
    run 1       a:1  d:4 | e:1                 a:4  c:1  d:4, then on with the pieces behind it
    in memory   b:7

So a merge holds a piece of every run, and never a feature's whole counts. The counts come out the same however they were cut
into runs.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.manifest import sha256_of_file
from data.preparing.key_counts import KeyCounts, merge_counts

_PIECE_KEYS = 1 << 16
# More runs at once would take more memory, and open files, than the counts that they are to save.
_MOST_RUNS_AT_ONCE = 64
_END = ".arrow"


@dataclass(frozen=True)
class Run:
    """A file of counts: its name, and the sha256 of its bytes."""

    name: str
    sha256: str


class RunFolder:
    """The folder that runs are written to. A run is whole or not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._num_written = 0

    def keep(self, runs: Iterable[Run]) -> bool:
        """Drop every file but these runs'; whether they are all there, with the bytes that they had."""
        named = {run.name: run.sha256 for run in runs}
        found = list(self._directory.iterdir()) if self._directory.exists() else []
        for path in found:
            if path.name not in named:
                path.unlink()
        present = {path.name: path for path in found if path.name in named}
        self._num_written = max((int(name.removesuffix(_END)) + 1 for name in present), default=0)
        return present.keys() == named.keys() and all(sha256_of_file(present[name]) == named[name] for name in named)

    def write(self, pieces: Iterable[KeyCounts]) -> Run:
        """A run of these counts, keys ascending over all pieces. OSError where the disk is full."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{self._num_written:06d}{_END}"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            _write(pieces, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        self._num_written += 1
        return Run(path.name, sha256_of_file(path))

    def read(self, run: Run) -> Iterator[KeyCounts]:
        """The counts of a run, piece by piece."""
        # Read and not mapped into memory: mapped pages would count as this process's, though they are not needed again.
        with pa.OSFile(str(self._directory / run.name)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                keys, counts = (batch.column(place).to_numpy() for place in range(2))
                yield KeyCounts(keys, counts, batch.column(2) if batch.num_columns > 2 else None)


@dataclass
class SpilledCounts:
    """The counts of one feature: those in runs, and those that are still in memory. Iterates over them merged, keys ascending."""

    folder: RunFolder
    runs: list[Run]
    rest: KeyCounts

    def __iter__(self) -> Iterator[KeyCounts]:
        if not self.runs:
            return iter([self.rest])
        self._join_runs()
        return merge_ascending([*(self.folder.read(run) for run in self.runs), iter([self.rest])])

    def _join_runs(self) -> None:
        """Make one run of many until all can be read at once."""
        while len(self.runs) > _MOST_RUNS_AT_ONCE:
            first = self.runs[:_MOST_RUNS_AT_ONCE]
            joined = self.folder.write(merge_ascending([self.folder.read(run) for run in first]))
            self.runs = [joined, *self.runs[_MOST_RUNS_AT_ONCE:]]


def merge_ascending(streams: list[Iterator[KeyCounts]]) -> Iterator[KeyCounts]:
    """The sums of several streams of counts, keys ascending in each and in the result; of two texts of a key the first."""
    heads = [_next(stream) for stream in streams]
    while held := [head for head in heads if head is not None]:
        last_key = min(head.keys[-1] for head in held)
        below = []
        for place, head in enumerate(heads):
            if head is None:
                continue
            end = int(np.searchsorted(head.keys, last_key, side="right"))
            below.append(head[:end])
            heads[place] = head[end:] if end < len(head) else _next(streams[place])
        yield merge_counts([piece for piece in below if len(piece)])


def _next(stream: Iterator[KeyCounts]) -> KeyCounts | None:
    """The stream's next piece that holds anything."""
    return next((piece for piece in stream if len(piece)), None)


def _write(pieces: Iterable[KeyCounts], file) -> None:
    writer = None
    for piece in pieces:
        for start in range(0, len(piece), _PIECE_KEYS):
            batch = _batch(piece[start : start + _PIECE_KEYS])
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
    if writer:
        writer.close()


def _batch(piece: KeyCounts) -> pa.RecordBatch:
    columns = {"key": pa.array(piece.keys), "count": pa.array(piece.counts)}
    if piece.texts is not None:
        columns["text"] = piece.texts
    return pa.record_batch(columns)
