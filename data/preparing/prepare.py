"""Raw Criteo text to a prepared dataset: Parquet parts, id maps and a manifest, in memory that does not grow with the rows.

With ids=map two passes: the first counts the ids of the train split, the second looks rows up and writes them. With ids=hash
one pass. A block is parsed and turned into columns on a thread of its own; results are taken and written in order.

Legend: n rows of a block.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.aside import written_aside
from data.config import PrepareConfig
from data.criteo import MLPERF_TABLE_SIZES, NUM_SPARSE, SPARSE_NAMES
from data.errors import DataError
from data.manifest import MANIFEST_VERSION, SPLITS, Manifest, SparseStatistics, Split, fingerprint_of
from data.preparing.id_rows import IdHash, IdMap
from data.preparing.ordered import map_in_order
from data.preparing.parts import PartWriter
from data.preparing.prepared_before import find_prepared
from data.preparing.progress import Progress
from data.preparing.splits import TRAIN, Splitter
from data.preparing.train_statistics import BlockIdCounts, DenseSums, IdCounts, dense_sums
from data.preparing.transforms import RowLookup, dense_columns, dense_names, sparse_columns, stored_schema, stored_table
from data.raw.bad_lines import BadLines, BlockAccount
from data.raw.raw_blocks import RawText, TextBlock
from data.raw.raw_files import raw_files
from data.raw.raw_rows import parse_block
from data.schema import Schema, SparseFeature

logger = logging.getLogger(__name__)


def prepare(config: PrepareConfig) -> Manifest:
    """The manifest of `config.output`, which then holds the prepared dataset.

    Where it holds the same thing already (same settings, source bytes and intact parts), nothing is done but saying so.
    DataError for a source that cannot be used, too many bad lines, an output that holds something else, a full disk.
    """
    files = raw_files(config.source)
    settings = contents_settings(config)
    if found := find_prepared(Path(config.output), files, settings, config.force):
        logger.info(
            "%s holds this dataset already (fingerprint %s): nothing to do", config.output, found.fingerprint[:12]
        )
        return found
    with written_aside(Path(config.output)) as directory:
        directory.mkdir()
        manifest = _Preparation(config, files, directory).run(settings)
        manifest.save(directory)
    return manifest


def contents_settings(config: PrepareConfig) -> dict[str, Any]:
    """The settings that decide what a prepared dataset contains; paths, threads and the like do not."""
    names = ("ids", "dense_missing_indicator", "rows_per_part", "row_group_rows")
    settings = {name: getattr(config, name) for name in names} | {"split": asdict(config.split)}
    return settings | (
        {"min_count": config.min_count} if config.ids == "map" else {"table_sizes": list(_table_sizes(config))}
    )


def _table_sizes(config: PrepareConfig) -> tuple[int, ...]:
    sizes = config.table_sizes or MLPERF_TABLE_SIZES
    return sizes * NUM_SPARSE if len(sizes) == 1 else sizes


@dataclass(frozen=True)
class _Counted:
    """What the first pass takes from a block."""

    account: BlockAccount
    ids: BlockIdCounts


@dataclass(frozen=True)
class _Columns:
    """What the writing pass takes from a block: a table per split that has rows in it, and sums over its train rows."""

    account: BlockAccount
    tables: dict[int, pa.Table]
    sums: np.ndarray
    ids: BlockIdCounts | None


class _Preparation:
    """One run of the job into an empty directory."""

    def __init__(self, config: PrepareConfig, files: list[Path], directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._text = RawText(files, config.block_mib << 20)
        self._num_source_bytes = sum(file.stat().st_size for file in files)
        self._splitter = Splitter.of(config.split, files)
        self._columns = stored_schema(config.dense_missing_indicator, self._text.has_truth)
        self._counts = IdCounts()
        self._sums = DenseSums(dense_names(config.dense_missing_indicator))

    def run(self, settings: dict[str, Any]) -> Manifest:
        """Write the parts and id maps; the manifest is returned, not yet written."""
        if self._config.ids == "map":
            self._count_ids()
            lookups, statistics = self._fit_maps()
            bad, splits = self._write(lookups, None)
        else:
            lookups = [IdHash(size) for size in _table_sizes(self._config)]
            bad, splits = self._write(lookups, self._counts)
            statistics = [self._counts.statistics(f, self._counts.take(f)[1], 1) for f in range(NUM_SPARSE)]
        self._check_splits(splits)
        return self._manifest(settings, lookups, statistics, bad, splits)

    def _count_ids(self) -> None:
        bad = BadLines(self._config.max_bad_fraction)
        with Progress("counting ids", self._num_source_bytes, self._config.show_progress) as progress:
            for counted in map_in_order(self._count_block, self._text, self._config.num_threads):
                bad.add(counted.account)
                self._counts.add(counted.ids)
                progress.advance(counted.account.num_source_bytes, counted.account.num_lines)
        bad.check()

    def _count_block(self, block: TextBlock) -> _Counted:
        rows = parse_block(block)
        is_train = self._splitter.assign(block, rows.row_ids) == TRAIN
        return _Counted(BlockAccount.of(block, rows), BlockIdCounts.of(rows.ids, rows.id_missing, is_train))

    def _fit_maps(self) -> tuple[list[IdMap], list[SparseStatistics]]:
        maps, statistics = [], []
        (self._directory / "id_maps").mkdir()
        for feature, name in enumerate(SPARSE_NAMES):
            ids, counts = self._counts.take(feature)
            statistics.append(self._counts.statistics(feature, counts, self._config.min_count))
            maps.append(IdMap(ids, counts, self._config.min_count))
            pq.write_table(maps[-1].table(), self._directory / "id_maps" / f"{name}.parquet", compression="lz4")
        return maps, statistics

    def _write(self, lookups: Sequence[RowLookup], counts: IdCounts | None) -> tuple[BadLines, dict[str, Split]]:
        bad = BadLines(self._config.max_bad_fraction)
        sizes = self._config.rows_per_part, self._config.row_group_rows
        writers = [PartWriter(self._directory, split, self._columns, *sizes) for split in SPLITS]
        transform = partial(self._transform_block, lookups=lookups, is_counting=counts is not None)
        try:
            with Progress("writing parts", self._num_source_bytes, self._config.show_progress) as progress:
                for columns in map_in_order(transform, self._text, self._config.num_threads):
                    bad.add(columns.account)
                    self._take(columns, writers, counts)
                    progress.advance(columns.account.num_source_bytes, columns.account.num_lines)
            bad.check()
            return bad, {split: writer.close() for split, writer in zip(SPLITS, writers, strict=True)}
        finally:
            for writer in writers:
                writer.abandon()

    def _take(self, columns: _Columns, writers: list[PartWriter], counts: IdCounts | None) -> None:
        for split, table in columns.tables.items():
            writers[split].write(table)
        self._sums.add(columns.sums)
        if counts and columns.ids:
            counts.add(columns.ids)

    def _transform_block(self, block: TextBlock, *, lookups: Sequence[RowLookup], is_counting: bool) -> _Columns:
        rows = parse_block(block)
        dense = dense_columns(rows, self._config.dense_missing_indicator)
        sparse = sparse_columns(rows, lookups)
        split = self._splitter.assign(block, rows.row_ids)
        table = stored_table(rows, dense, sparse, self._columns)
        tables = {int(s): table.filter(pa.array(split == s)) for s in np.unique(split)}
        missing = np.zeros(dense.shape, dtype=bool)
        missing[: len(rows.integer_missing)] = rows.integer_missing
        sums = dense_sums(dense, missing, split == TRAIN)
        ids = BlockIdCounts.of(sparse.view(np.uint32), rows.id_missing, split == TRAIN) if is_counting else None
        return _Columns(BlockAccount.of(block, rows), tables, sums, ids)

    def _check_splits(self, splits: dict[str, Split]) -> None:
        if not splits["train"].num_rows:
            held = ", ".join(f"{split.num_rows} in {name}" for name, split in splits.items())
            raise DataError(
                f"{self._config.source} leaves no row to train on ({held}). Give more rows, or split them otherwise."
            )

    def _manifest(
        self,
        settings: dict[str, Any],
        lookups: Sequence[RowLookup],
        statistics: list[SparseStatistics],
        bad: BadLines,
        splits: dict[str, Split],
    ) -> Manifest:
        names = dense_names(self._config.dense_missing_indicator)
        sparse = (SparseFeature(name=n, num_embeddings=m.num_rows) for n, m in zip(SPARSE_NAMES, lookups, strict=True))
        origin = tuple(self._text.origin)
        checksums = [(file.sha256, file.truth_sha256) for file in origin]
        return Manifest(
            schema=Schema(dense=names, sparse=tuple(sparse)),
            splits=splits,
            sparse_statistics=dict(zip(SPARSE_NAMES, statistics, strict=True)),
            dense_statistics=self._sums.statistics(),
            num_lines=bad.num_lines,
            bad_lines=dict(bad.counts),
            has_true_probability=self._text.has_truth,
            row_group_rows=self._config.row_group_rows,
            settings=settings,
            origin=origin,
            fingerprint=fingerprint_of(MANIFEST_VERSION, settings, checksums),
        )
