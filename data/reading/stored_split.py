"""The Parquet parts of a split: whether they are what the manifest says, and which row groups hold which rows."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.manifest import Manifest, Part
from data.schema import target_column, weights_column
from data.storage import Location, inside, open_binary, open_parquet

# An open part costs the memory of its parsed footer, some 9 MB at a million rows of Criteo, and 10 ms to open again.
MAX_OPEN_PARTS = 16
MAX_PARTS_CHECKED_AT_OPENING = 64
ROW_ID, LABEL = "row_id", "label"
_MAGIC = b"PAR1"
PREPARE_AGAIN = "It was altered or damaged after preparing: prepare the dataset again (force=true)."


class Piece(NamedTuple):
    """Rows `begin` to `end` - 1 of one row group of one part."""

    part: int
    group: int
    begin: int
    end: int


class StoredSplit:
    """Where the rows of a split lie. Opening it checks that every part is there and is what the manifest says.

    The directory may be a URL (data/storage.py). Of splits with up to 64 parts all footers are read at once; of larger ones each
    when its rows are first needed. DataError names the part that is missing, cut short, or has other rows or columns than the
    manifest.
    """

    def __init__(self, directory: Location, split: str) -> None:
        self.directory = directory
        manifest = Manifest.load(directory)
        found = manifest.split(split)
        self.schema = manifest.schema
        weights = (weights_column(feature.name) for feature in self.schema.sparse if feature.weighted)
        self.labels = [LABEL, *(target_column(name) for name in self.schema.targets[1:])]
        self.columns = [ROW_ID, *self.labels, *self.schema.dense, *self.schema.sparse_names, *weights]
        self.num_rows = found.num_rows
        self.paths = [inside(directory, part.path) for part in found.parts]
        self._parts = found.parts
        self.group_rows = manifest.row_group_rows
        self._starts = [0, *accumulate(part.num_rows for part in found.parts)]
        self._check()

    def pieces(self, start: int, num_rows: int) -> list[Piece]:
        """The pieces that hold `num_rows` rows from row `start` on; behind the last row of the split comes its first."""
        pieces = []
        while num_rows > 0:
            start %= self.num_rows
            part = bisect_right(self._starts, start) - 1
            group, begin = divmod(start - self._starts[part], self.group_rows)
            group_end = min(self.group_rows, self._parts[part].num_rows - group * self.group_rows)
            taken = min(num_rows, group_end - begin)
            pieces.append(Piece(part, group, begin, begin + taken))
            start, num_rows = start + taken, num_rows - taken
        return pieces

    def open_part(self, part: int, *, verify_pages: bool = True) -> pq.ParquetFile:
        """The part, checked, ready to read row groups of. `verify_pages`: compare the checksum of every page that is read."""
        path = self.paths[part]
        try:
            file = open_parquet(path, verify_pages=verify_pages)
        except FileNotFoundError as error:
            raise DataError(_missing(path)) from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as Parquet: {error}. {PREPARE_AGAIN}") from error
        _check_footer(path, file, self._parts[part], self.group_rows)
        _check_columns(path, file, self.columns)
        return file

    def _check(self) -> None:
        held = sum(part.num_rows for part in self._parts)
        if held != self.num_rows:
            raise DataError(f"{self.directory}: the parts hold {held} rows, the split {self.num_rows}. {PREPARE_AGAIN}")
        for path in self.paths:
            _check_magic(path)
        if len(self.paths) <= MAX_PARTS_CHECKED_AT_OPENING:
            for part in range(len(self.paths)):
                self.open_part(part).close()


def _check_magic(path: Location) -> None:
    try:
        with open_binary(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_MAGIC)))
            is_whole = file.read() == _MAGIC
    except FileNotFoundError as error:
        raise DataError(_missing(path)) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. {PREPARE_AGAIN}") from error
    if not is_whole:
        raise DataError(f"{path} is no Parquet file, or was cut short. {PREPARE_AGAIN}")


def _check_footer(path: Location, file: pq.ParquetFile, part: Part, group_rows: int) -> None:
    footer = file.metadata
    if footer.num_rows != part.num_rows:
        raise DataError(f"{path} holds {footer.num_rows} rows, the manifest says {part.num_rows}. {PREPARE_AGAIN}")
    expected = [group_rows] * (part.num_rows // group_rows)
    if part.num_rows % group_rows:
        expected.append(part.num_rows % group_rows)
    found = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    if found != expected:
        raise DataError(
            f"{path} has row groups of {sorted(set(found))} rows, expected {group_rows} in all but the last. {PREPARE_AGAIN}"
        )


def _missing(path: Location) -> str:
    return f"{path} is missing: the manifest lists it as a part. Prepare the dataset again, or bring the file back."


def _check_columns(path: Location, file: pq.ParquetFile, columns: Sequence[str]) -> None:
    present = set(file.schema_arrow.names)
    for name in columns:
        if name not in present:
            raise DataError(f"{path} has no column {name!r}, which the manifest's schema lists. {PREPARE_AGAIN}")
