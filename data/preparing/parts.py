"""Parquet parts of one split: row groups of a fixed number of rows, parts of a fixed number of row groups, checksums."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.manifest import Part, Split, sha256_of_file

# Rows are held back until this many row groups are full: fewer, larger calls.
_GROUPS_PER_WRITE = 4


class PartWriter:
    """Takes tables of any length, in row order; every row group but the split's last has exactly `row_group_rows` rows.

    Columns are stored plainly: ids do not repeat enough for a dictionary, and a plain column is read fastest. Pages carry
    checksums, so that a reader finds damage without reading the whole part.
    """

    def __init__(self, directory: Path, split: str, schema: pa.Schema, rows_per_part: int, row_group_rows: int) -> None:
        self._directory = directory
        self._split = split
        self._schema = schema
        self._rows_per_part = rows_per_part
        self._row_group_rows = row_group_rows
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_part = 0
        self._num_positives = 0
        self._parts: list[Part] = []

    def write(self, table: pa.Table) -> None:
        """Append rows. OSError where the disk is full."""
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        self._num_positives += int(table["label"].to_numpy().sum())
        if self._num_waiting >= self._row_group_rows * _GROUPS_PER_WRITE:
            self._write_waiting(self._num_waiting // self._row_group_rows * self._row_group_rows)

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
        table = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        self._waiting, self._num_waiting = [table.slice(num_rows)], table.num_rows - num_rows
        start = 0
        while start < num_rows:
            taken = min(num_rows - start, self._rows_per_part - self._rows_in_part)
            self._open_part().write_table(table.slice(start, taken), row_group_size=self._row_group_rows)
            start += taken
            self._rows_in_part += taken
            if self._rows_in_part == self._rows_per_part:
                self._finish_part()

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
        name = f"{self._split}/{path.name}"
        self._parts.append(Part(path=name, num_rows=self._rows_in_part, sha256=sha256_of_file(path)))
        self._writer, self._rows_in_part = None, 0

    def _path(self) -> Path:
        return self._directory / self._split / f"part-{len(self._parts):05d}.parquet"
