"""Parquet parts of one split: row groups of a fixed number of rows, parts of a fixed number of row groups, checksums."""

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.manifest import Part, Split, sha256_of_file


@dataclass(frozen=True)
class Finished:
    """Where a split stands at the end of a block: its whole parts, their positives, and which row comes behind them.

    That row is number `skipped_rows` of the split's rows in block `block`.
    """

    parts: tuple[Part, ...] = ()
    num_positives: int = 0
    block: int = 0
    skipped_rows: int = 0


class PartWriter:
    """Takes tables of any length, in row order; every row group but the split's last has exactly `row_group_rows` rows.

    Columns are stored plainly: ids do not repeat enough for a dictionary, and a plain column is read fastest. Pages carry
    checksums, so that a reader finds damage without reading the whole part.

    `finished` is where an earlier writer of the same rows stood: its parts are kept, and rows that they hold are skipped.
    """

    def __init__(
        self,
        directory: Path,
        split: str,
        schema: pa.Schema,
        rows_per_part: int,
        row_group_rows: int,
        finished: Finished | None = None,
    ) -> None:
        begin = finished or Finished()
        self._directory = directory
        self._split = split
        self._schema = schema
        self._rows_per_part = rows_per_part
        self._row_group_rows = row_group_rows
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_part = 0
        self._num_positives = begin.num_positives
        self._parts: list[Part] = list(begin.parts)
        self._finished = begin
        # Blocks that hold rows of the open part or of a later one, each with the number of its first row taken.
        self._blocks: deque[tuple[int, int]] = deque()
        self._num_taken = sum(part.num_rows for part in self._parts)

    @property
    def first_block(self) -> int:
        """The first block that may hold rows not in whole parts."""
        return self._finished.block

    def write(self, table: pa.Table, block: int) -> None:
        """Append the split's rows of a block, numbered upwards. OSError where the disk is full."""
        begin = self._finished
        if block < begin.block:
            return
        if block == begin.block and not self._blocks:
            self._blocks.append((block, self._num_taken - begin.skipped_rows))
            table = table.slice(begin.skipped_rows)
        else:
            self._blocks.append((block, self._num_taken))
        self._num_taken += table.num_rows
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= self._row_group_rows:
            self._write_waiting(self._num_waiting // self._row_group_rows * self._row_group_rows)

    def finished(self, next_block: int) -> Finished:
        """Where the split stands when all blocks before `next_block` were written."""
        if self._writer is None and not self._num_waiting:
            self._finished = Finished(tuple(self._parts), self._num_positives, next_block, 0)
        return self._finished

    def close(self) -> Split:
        """Write what is left; the split with its parts."""
        self._write_waiting(self._num_waiting)
        self._finish_part()
        num_rows = sum(part.num_rows for part in self._parts)
        return Split(num_rows=num_rows, num_positives=self._num_positives, parts=tuple(self._parts))

    def abandon(self) -> None:
        """Close the open file without finishing anything."""
        if self._writer:
            self._writer.close()

    def _write_waiting(self, num_rows: int) -> None:
        table = pa.concat_tables(self._waiting).combine_chunks() if self._waiting else self._schema.empty_table()
        self._waiting, self._num_waiting = [table.slice(num_rows)], table.num_rows - num_rows
        start = 0
        while start < num_rows:
            taken = min(num_rows - start, self._rows_per_part - self._rows_in_part)
            rows = table.slice(start, taken)
            self._open_part().write_table(rows, row_group_size=self._row_group_rows)
            self._num_positives += int(rows["label"].to_numpy().sum())
            start += taken
            self._rows_in_part += taken
            if self._rows_in_part == self._rows_per_part:
                self._finish_part()
        # Arrow's allocator keeps what other threads allocated and this one freed, unless it is told to let go.
        pa.default_memory_pool().release_unused()

    def _open_part(self) -> pq.ParquetWriter:
        if self._writer is None:
            path = self._path()
            path.parent.mkdir(exist_ok=True)
            self._writer = pq.ParquetWriter(
                path,
                self._schema,
                compression="lz4",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
                store_schema=False,
            )
        return self._writer

    def _finish_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        path = self._path()
        _flush(path)
        name = f"{self._split}/{path.name}"
        self._parts.append(Part(path=name, num_rows=self._rows_in_part, sha256=sha256_of_file(path)))
        self._writer, self._rows_in_part = None, 0
        self._note_finished()

    def _note_finished(self) -> None:
        """The parts are whole up to here: remember which row of which block comes next."""
        num_rows = sum(part.num_rows for part in self._parts)
        while len(self._blocks) > 1 and self._blocks[1][1] <= num_rows:
            self._blocks.popleft()
        block, first_row = self._blocks[0]
        self._finished = Finished(tuple(self._parts), self._num_positives, block, num_rows - first_row)

    def _path(self) -> Path:
        return self._directory / self._split / f"part-{len(self._parts):05d}.parquet"


def _flush(path: Path) -> None:
    """To disk: a note that names a part must not survive it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
