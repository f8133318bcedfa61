"""Whether a prepared dataset is what its manifest says, down to every row group. The first damage found ends the search."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data.errors import DataError
from data.manifest import Manifest, Part, Split, sha256_of_file
from data.reading.row_pool import RowPool
from data.reading.stored_split import LABEL, PREPARE_AGAIN, ROW_ID, Piece, StoredSplit
from data.schema import target_column
from data.storage import Location

ID_MAPS = "id_maps"


def verify(directory: str | Path, manifest: Manifest, on_rows: Callable[[int], object] = lambda num_rows: None) -> int:
    """Number of row groups, all of which are whole; `on_rows` is told of rows as they are checked.

    Looked at: columns, rows and row groups of every part, the checksum of every page and file, ids within their tables, finite
    numbers, labels 0 or 1, row ids that rise and lie within the lines read, positives, id maps, files that belong to no split.
    DataError names the file, and the row group where it is one.
    """
    num_groups = sum(_verify_split(Path(directory), manifest, name, on_rows) for name in manifest.splits)
    _verify_id_maps(Path(directory), manifest)
    _check_no_strangers(Path(directory), manifest)
    return num_groups


def _verify_split(directory: Path, manifest: Manifest, name: str, on_rows: Callable[[int], object]) -> int:
    split = manifest.splits[name]
    stored = StoredSplit(directory, name)
    pool = RowPool(stored)
    rows = _RowChecks(manifest, name)
    num_groups = 0
    try:
        for number, part in enumerate(split.parts):
            with stored.open_part(number) as file:
                for group in range(file.num_row_groups):
                    num_rows = file.metadata.row_group(group).num_rows
                    pool.load([Piece(number, group, 0, num_rows)])
                    pool.release(pool.retire_all_but([]))
                    rows.check(file, group, stored.paths[number])
                    on_rows(num_rows)
                num_groups += file.num_row_groups
            _verify_bytes(directory / part.path, part)
    finally:
        pool.close()
    _check_counts(directory, name, split, rows.num_positives)
    return num_groups


class _RowChecks:
    """What is checked of single rows, over the row groups of a split in order."""

    def __init__(self, manifest: Manifest, split: str) -> None:
        self._dense = manifest.schema.dense
        self._others = [target_column(name) for name in manifest.schema.targets[1:]]
        self._columns = [ROW_ID, LABEL, *manifest.schema.dense, *self._others]
        # Row ids that a spec takes from a column of the data can be any numbers, in any order.
        self._are_lines = not manifest.settings.get("spec", {}).get("row_id")
        self._num_lines = manifest.num_lines
        self._last_row_id = -1
        self.num_positives = 0

    def check(self, file: pq.ParquetFile, group: int, path: Location) -> None:
        table = file.read_row_group(group, columns=self._columns, use_threads=False)
        row_ids, labels = table[ROW_ID].to_numpy(), table[LABEL].to_numpy()
        where = f"in row group {group} of {path}"
        if not ((labels == 0) | (labels == 1)).all():
            found = labels[(labels != 0) & (labels != 1)][0]
            raise DataError(f"A label {where} is {found}; expected 0 or 1. {PREPARE_AGAIN}")
        if self._are_lines and (np.diff(row_ids, prepend=self._last_row_id) <= 0).any():
            raise DataError(f"The row ids {where} do not rise: rows are there twice, or out of order. {PREPARE_AGAIN}")
        if self._are_lines and row_ids[-1] >= self._num_lines:
            raise DataError(
                f"Row id {row_ids[-1]} {where} is beyond the {self._num_lines} lines that were read. {PREPARE_AGAIN}"
            )
        for name in self._others:
            if set(table[name].unique().to_pylist()) - {0, 1, None}:
                raise DataError(f"Column {name!r} {where} holds other labels than 0, 1 and null. {PREPARE_AGAIN}")
        for name in self._dense:
            if not np.isfinite(table[name].to_numpy()).all():
                raise DataError(f"Feature {name!r} {where} holds a number that is not finite. {PREPARE_AGAIN}")
        self._last_row_id = int(row_ids[-1])
        self.num_positives += int(labels.sum())


def _verify_bytes(path: Path, part: Part) -> None:
    found = sha256_of_file(path)
    if found != part.sha256:
        raise DataError(
            f"{path} was altered after preparing, in bytes that are no row group's: its sha256 is {found[:12]}..., the manifest"
            f" says {part.sha256[:12]}.... Prepare the dataset again (force=true)."
        )


def _check_counts(directory: Path, name: str, split: Split, num_positives: int) -> None:
    if num_positives != split.num_positives:
        raise DataError(
            f"{directory}: {num_positives} rows of split {name} are positive, the manifest says {split.num_positives}."
            f" {PREPARE_AGAIN}"
        )


def _verify_id_maps(directory: Path, manifest: Manifest) -> None:
    """A map has a row for every id of its table but row 0."""
    sizes = {feature.table_name: feature.num_embeddings for feature in manifest.schema.sparse}
    for path in sorted((directory / ID_MAPS).glob("*.parquet")):
        try:
            num_rows = pq.read_metadata(path).num_rows
        except Exception as error:  # Arrow's own kinds have no common base beyond this
            raise DataError(f"{path} cannot be read: {error}. {PREPARE_AGAIN}") from error
        if path.stem in sizes and num_rows + 1 != sizes[path.stem]:
            raise DataError(
                f"{path} maps {num_rows} ids, the manifest says {sizes[path.stem] - 1} for this table. {PREPARE_AGAIN}"
            )


def _check_no_strangers(directory: Path, manifest: Manifest) -> None:
    listed = {part.path for split in manifest.splits.values() for part in split.parts}
    for name in manifest.splits:
        for path in sorted((directory / name).glob("*")):
            if f"{name}/{path.name}" not in listed:
                raise DataError(f"{path} is no part that the manifest lists. Move it away.")
