"""Criteo's click logs: 13 integers to logarithms, 26 ids to table rows.

Legend: n rows of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.config import PrepareConfig
from data.criteo import MLPERF_TABLE_SIZES, NUM_SPARSE, SPARSE_NAMES
from data.manifest import SparseStatistics
from data.preparing.id_rows import IdHash, IdMap
from data.preparing.recipe import Outcome
from data.preparing.train_statistics import BlockIdCounts, DenseSums, IdCounts, dense_sums
from data.preparing.transforms import RowLookup, dense_columns, dense_names, sparse_columns, stored_schema, stored_table
from data.raw.raw_blocks import RawText, TextBlock
from data.raw.raw_rows import RawRows, parse_block
from data.schema import Schema, SparseFeature


def table_sizes(config: PrepareConfig) -> tuple[int, ...]:
    """Rows of the 26 tables with ids=hash."""
    sizes = config.table_sizes or MLPERF_TABLE_SIZES
    return sizes * NUM_SPARSE if len(sizes) == 1 else sizes


@dataclass(frozen=True)
class CriteoRecipe:
    """Criteo text under the settings of the prepare job."""

    config: PrepareConfig

    @property
    def counts_first(self) -> bool:
        return self.config.ids == "map"

    def open(self, files: list[Path], block_bytes: int) -> RawText:
        return RawText(files, block_bytes)

    def parse(self, block: TextBlock) -> RawRows:
        return parse_block(block)

    def count(self, rows: RawRows, is_train: np.ndarray) -> BlockIdCounts:
        return BlockIdCounts.of(rows.ids, rows.id_missing, is_train)

    def new_tally(self) -> IdCounts:
        return IdCounts()

    def fit(self, tally: IdCounts | None, directory: Path) -> "FittedCriteo":
        if tally is None:
            return FittedCriteo(self.config, [IdHash(size) for size in table_sizes(self.config)], None)
        maps, statistics = [], []
        (directory / "id_maps").mkdir()
        for feature, name in enumerate(SPARSE_NAMES):
            ids, counts = tally.take(feature)
            statistics.append(tally.statistics(feature, counts, self.config.min_count))
            maps.append(IdMap(ids, counts, self.config.min_count))
            pq.write_table(maps[-1].table(), directory / "id_maps" / f"{name}.parquet", compression="lz4")
        return FittedCriteo(self.config, maps, statistics)


@dataclass(frozen=True)
class _BlockTally:
    sums: np.ndarray
    ids: BlockIdCounts | None


class _Tally:
    def __init__(self, names: tuple[str, ...]) -> None:
        self.sums = DenseSums(names)
        self.ids = IdCounts()

    def add(self, block_tally: _BlockTally) -> None:
        self.sums.add(block_tally.sums)
        if block_tally.ids:
            self.ids.add(block_tally.ids)


@dataclass(frozen=True)
class FittedCriteo:
    """`lookups` for the 26 features; `statistics` of the ids where they were counted before, none where writing counts them."""

    config: PrepareConfig
    lookups: Sequence[RowLookup]
    statistics: list[SparseStatistics] | None

    def stored_schema(self, has_truth: bool) -> pa.Schema:
        return stored_schema(self.config.dense_missing_indicator, has_truth)

    def columns(self, rows: RawRows, is_train: np.ndarray) -> tuple[pa.Table, _BlockTally]:
        dense = dense_columns(rows, self.config.dense_missing_indicator)
        sparse = sparse_columns(rows, self.lookups)
        table = stored_table(rows, dense, sparse, self.stored_schema(rows.probabilities is not None))
        missing = np.zeros(dense.shape, dtype=bool)
        missing[: len(rows.integer_missing)] = rows.integer_missing
        is_counting = self.statistics is None
        ids = BlockIdCounts.of(sparse.view(np.uint32), rows.id_missing, is_train) if is_counting else None
        return table, _BlockTally(dense_sums(dense, missing, is_train), ids)

    def new_tally(self) -> _Tally:
        return _Tally(dense_names(self.config.dense_missing_indicator))

    def outcome(self, tally: _Tally) -> Outcome:
        statistics = self.statistics or [
            tally.ids.statistics(feature, tally.ids.take(feature)[1], 1) for feature in range(NUM_SPARSE)
        ]
        sparse = (
            SparseFeature(name=name, num_embeddings=lookup.num_rows)
            for name, lookup in zip(SPARSE_NAMES, self.lookups, strict=True)
        )
        return Outcome(
            schema=Schema(dense=dense_names(self.config.dense_missing_indicator), sparse=tuple(sparse)),
            sparse_statistics=dict(zip(SPARSE_NAMES, statistics, strict=True)),
            dense_statistics=tally.sums.statistics(),
        )
