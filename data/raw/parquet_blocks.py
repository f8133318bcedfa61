"""Parquet files as blocks of rows: one row group in memory at a time, cut into pieces that threads can share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.manifest import SourceFile, sha256_of_file
from data.raw.header import check_columns
from data.storage import open_parquet

# Of the order of the rows in a block of text: the threads' shares, and what is held per thread, stay small.
_BLOCK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class TableBlock:
    """Rows of one Parquet file. Lines are its rows, counted from 1; row ids count from 0 over all files."""

    table: pa.Table
    file: Path
    file_index: int
    first_line: int
    first_row_id: int
    num_lines: int
    num_source_bytes: int
    probabilities: None = None

    @property
    def num_before(self) -> int:
        """Rows of the file before this block."""
        return self.first_line - 1


@dataclass
class RawParquet:
    """Iterates over the blocks of all files in order. After the iteration `origin` names each file with its checksum.

    DataError names a file that cannot be read, with the row group, and one that lacks a column of the spec.
    """

    files: Sequence[Path]
    needed: tuple[str, ...]
    origin: list[SourceFile] = field(default_factory=list)
    has_truth: bool = False

    def __iter__(self) -> Iterator[TableBlock]:
        self.origin = []
        next_row_id = 0
        for file_index, path in enumerate(self.files):
            with self._opened(path) as file:
                first = 0
                for group in range(file.num_row_groups):
                    yield from self._blocks(file, path, group, file_index, next_row_id, first)
                    first += file.metadata.row_group(group).num_rows
            next_row_id += first
            size = path.stat().st_size
            self.origin.append(SourceFile(name=path.name, num_bytes=size, sha256=sha256_of_file(path), num_lines=first))

    def count_rows(self, file: Path) -> int:
        """Rows of a file, from its footer."""
        with self._opened(file) as opened:
            return opened.metadata.num_rows

    def _blocks(
        self, file: pq.ParquetFile, path: Path, group: int, file_index: int, next_row_id: int, first: int
    ) -> Iterator[TableBlock]:
        try:
            table = file.read_row_group(group, columns=list(self.needed), use_threads=False)
        except (pa.ArrowException, OSError, NotImplementedError) as error:
            raise DataError(
                f"Row group {group} of {path} cannot be read: {error}. Expected intact Parquet in a codec that this pyarrow"
                " knows: write the file again."
            ) from error
        num_bytes = file.metadata.row_group(group).total_byte_size
        for start in range(0, table.num_rows, _BLOCK_ROWS):
            piece = table.slice(start, _BLOCK_ROWS)
            yield TableBlock(
                table=piece,
                file=path,
                file_index=file_index,
                first_line=first + start + 1,
                first_row_id=next_row_id + first + start,
                num_lines=piece.num_rows,
                num_source_bytes=num_bytes * piece.num_rows // table.num_rows,
            )

    def _opened(self, path: Path) -> pq.ParquetFile:
        try:
            file = open_parquet(path, verify_pages=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} cannot be read as Parquet: {error}. Write the file again, or fetch it again."
            ) from error
        check_columns(file.schema_arrow.names, self.needed, str(path))
        return file
