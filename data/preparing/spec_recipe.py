"""A feature spec as the recipe of the prepare job.

Legend: n rows of a block.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.manifest import SparseStatistics
from data.preparing.count_runs import SpilledCounts, merge_ascending
from data.preparing.dense_values import Moments, dense_values, moment_sums
from data.preparing.exact_sums import ColumnSums
from data.preparing.id_rows import IdMap, id_table
from data.preparing.key_counts import KeyCounts
from data.preparing.recipe import Outcome
from data.preparing.row_counts import small_tables
from data.preparing.sparse_values import RowLookup, lookup_without_counts, required, stored_arrays, stored_fields
from data.preparing.tallies import BagTally, BlockTally, CountFigures, Tally, dense_statistics
from data.raw.bad_lines import CRITEO_LINES
from data.raw.criteo_rows import parse_criteo
from data.raw.header import Header
from data.raw.parquet_blocks import RawParquet, TableBlock
from data.raw.raw_blocks import RawText, TextBlock
from data.raw.raw_files import raw_files
from data.raw.spec_parser import SpecParser
from data.raw.spec_rows import SpecRows
from data.raw.table_files import table_files
from data.schema import Schema, SparseFeature, target_column
from data.spec.criteo import is_criteo_text
from data.spec.feature_spec import FeatureSpec, SparseSpec

ID_MAPS, MOMENTS = "id_maps", "moments.json"
# The planner divides by the mean number of ids: a feature that is always empty still has one in a thousand rows.
_FEWEST_IDS = 0.001

_StoredNumber = tuple[str, np.ndarray, np.ndarray]
"""Name, values, and which of them are missing, of one stored number."""


@dataclass(frozen=True)
class SpecRecipe:
    """Text or Parquet under a spec. Criteo's own format has a parser of its own, which gives the same rows faster."""

    spec: FeatureSpec

    @property
    def counts_first(self) -> bool:
        return any(each.ids == "vocabulary" for each in self.spec.sparse) or any(
            each.is_standardised for each in self.spec.dense
        )

    @property
    def expected_lines(self) -> str:
        """What a sound line looks like, for the message about bad ones."""
        if self._is_criteo:
            return CRITEO_LINES
        return "Expected rows as the spec says: see docs/data.md for what makes a row bad, and for types and missing values."

    def files(self, source: str) -> list[Path]:
        return raw_files(source) if self._is_criteo else table_files(source, self.spec.format)

    def open(self, files: list[Path], block_bytes: int) -> RawText | RawParquet:
        form = self.spec.format
        if form.kind == "parquet":
            return RawParquet(files, self.spec.columns)
        header = Header(form.separator, form.quote_character, self.spec.columns) if form.header else None
        return RawText(files, block_bytes, header)

    def parse(self, block: TextBlock | TableBlock) -> SpecRows:
        if self._is_criteo and isinstance(block, TextBlock):
            return parse_criteo(block)
        return self._parser.parse(block)

    def count(self, rows: SpecRows, is_train: np.ndarray) -> BlockTally:
        """Ids of the features with a vocabulary, and sums of the numbers to be standardised, over the train rows."""
        counted = {
            spec.name: bags for spec, bags in zip(self.spec.sparse, rows.bags, strict=True) if spec.ids == "vocabulary"
        }
        dense = {
            spec.name: moment_sums(spec, numbers, is_train)
            for spec, numbers in zip(self.spec.dense, rows.dense, strict=True)
            if spec.is_standardised
        }
        return BlockTally(BagTally.of_all(counted, is_train, small={}), dense)

    def fit(self, tally: Tally | None, directory: Path) -> "FittedSpec":
        moments = {
            spec.name: Moments(*tally.dense[spec.name].mean_and_std())
            for spec in self.spec.dense
            if tally and spec.is_standardised and spec.name in tally.dense
        }
        if moments:
            kept = {name: asdict(each) for name, each in moments.items()}
            (directory / MOMENTS).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        lookups = {spec.name: lookup_without_counts(spec) for spec in self.spec.sparse if spec.ids != "vocabulary"}
        counted = {}
        for table, specs in self._vocabularies().items():
            assert tally, "vocabularies are counted first"
            counts = {spec.name: tally.counts(spec.name) for spec in specs}
            id_map = _fit_map(table, specs, list(counts.values()), directory)
            for spec in specs:
                lookups[spec.name] = id_map
                figures = CountFigures.of(counts[spec.name], id_map.lacks)
                found = tally.sparse[spec.name]
                counted[spec.name] = Counted(found.statistics(figures), found.mean_ids)
        return FittedSpec(self.spec, lookups, moments, counted)

    def _vocabularies(self) -> dict[str, list[SparseSpec]]:
        tables: dict[str, list[SparseSpec]] = {}
        for spec in self.spec.sparse:
            if spec.ids == "vocabulary":
                tables.setdefault(spec.table_name, []).append(spec)
        return tables

    @cached_property
    def _is_criteo(self) -> bool:
        return is_criteo_text(self.spec)

    @cached_property
    def _parser(self) -> SpecParser:
        return SpecParser(self.spec)


@dataclass(frozen=True)
class Counted:
    """What the train rows say of a sparse feature; `mean_ids`: ids per row."""

    statistics: SparseStatistics
    mean_ids: float


@dataclass(frozen=True)
class FittedSpec:
    """`lookups` and `moments` by feature; `counted`: those features whose ids were counted before writing."""

    spec: FeatureSpec
    lookups: Mapping[str, RowLookup]
    moments: Mapping[str, Moments]
    counted: Mapping[str, Counted]

    def stored_schema(self, has_truth: bool) -> pa.Schema:
        """Columns that always have a value say so: without levels that tell of missing ones, a part takes less time to write."""
        return pa.schema(
            [
                required("row_id", pa.int64()),
                required("label", pa.int8()),
                *(pa.field(target_column(name), pa.int8()) for name in self.spec.target_names[1:]),
                *([required("timestamp", pa.int64())] if self.spec.timestamp else []),
                *(required(name, pa.float32()) for name in self.spec.dense_names),
                *(field for each in self.spec.sparse for field in stored_fields(each)),
                *([required("true_probability", pa.float64())] if has_truth else []),
            ]
        )

    def columns(self, rows: SpecRows, is_train: np.ndarray) -> tuple[pa.Table, BlockTally]:
        numbers, table_rows = list(self._dense(rows)), self._table_rows(rows)
        dense = {name: ColumnSums.of(values, missing, is_train) for name, values, missing in numbers}
        # An id is then what it was hashed to, and counted as that.
        mapped = {
            spec.name: replace(bags, keys=table_rows[spec.name].view(np.uint32), texts=None, text_keys=None)
            for spec, bags in zip(self.spec.sparse, rows.bags, strict=True)
            if spec.name not in self.counted
        }
        tally = BlockTally(BagTally.of_all(mapped, is_train, self._small_tables), dense)
        return self._table(rows, numbers, table_rows), tally

    @cached_property
    def _small_tables(self) -> dict[str, int]:
        sizes = {name: lookup.num_rows for name, lookup in self.lookups.items() if name not in self.counted}
        return small_tables(sizes)

    def table(self, rows: SpecRows) -> pa.Table:
        """The rows as a part stores them, without an account of what is in them."""
        return self._table(rows, list(self._dense(rows)), self._table_rows(rows))

    def outcome(self, tally: Tally) -> Outcome:
        counted = dict(self.counted)
        for name, found in tally.sparse.items():
            figures = CountFigures.of(tally.counts(name))
            counted[name] = Counted(found.statistics(figures), found.mean_ids)
        return Outcome(
            schema=Schema(
                dense=self.spec.dense_names,
                sparse=tuple(self._feature(each, counted[each.name]) for each in self.spec.sparse),
                targets=self.spec.target_names,
            ),
            sparse_statistics={each.name: counted[each.name].statistics for each in self.spec.sparse},
            dense_statistics={name: dense_statistics(tally.dense[name]) for name in self.spec.dense_names},
        )

    def _table(self, rows: SpecRows, numbers: list[_StoredNumber], table_rows: Mapping[str, np.ndarray]) -> pa.Table:
        arrays: list[pa.Array] = [pa.array(rows.row_ids), pa.array(rows.labels)]
        arrays += [pa.array(labels, mask=labels < 0) for labels in self._other_labels(rows)]
        if rows.timestamps is not None:
            arrays.append(pa.array(rows.timestamps))
        arrays += [pa.array(values) for _, values, _ in numbers]
        for spec, bags in zip(self.spec.sparse, rows.bags, strict=True):
            arrays += stored_arrays(spec, bags, table_rows[spec.name], self.lookups[spec.name].num_rows)
        if rows.probabilities is not None:
            arrays.append(pa.array(rows.probabilities))
        return pa.Table.from_arrays(arrays, schema=self.stored_schema(rows.probabilities is not None))

    def _other_labels(self, rows: SpecRows) -> list[np.ndarray]:
        """Those of the rows; all missing where rows that are only to be scored have none."""
        unknown = np.full(len(rows.labels), -1, np.int8)
        return rows.other_labels or [unknown] * len(self.spec.other_labels)

    def _table_rows(self, rows: SpecRows) -> dict[str, np.ndarray]:
        """Rows of its table for the ids of each sparse feature, int32 [m]."""
        return {
            spec.name: self.lookups[spec.name].rows(bags.keys, bags.missing)
            for spec, bags in zip(self.spec.sparse, rows.bags, strict=True)
        }

    def _dense(self, rows: SpecRows) -> Iterator[_StoredNumber]:
        """The features, then the indicators of what is missing."""
        never = np.zeros(len(rows.labels), dtype=bool)
        for spec, numbers in zip(self.spec.dense, rows.dense, strict=True):
            yield spec.name, dense_values(spec, numbers, self.moments.get(spec.name)), numbers.missing
        for spec, numbers in zip(self.spec.dense, rows.dense, strict=True):
            if spec.missing_indicator:
                yield f"{spec.name}_missing", numbers.missing.astype(np.float32), never

    def _feature(self, spec: SparseSpec, counted: Counted) -> SparseFeature:
        size = spec.multi_hot.size if spec.multi_hot else 0
        mean_ids = max(_FEWEST_IDS, counted.mean_ids) if spec.list else float(size or 1)
        return SparseFeature(
            name=spec.name,
            num_embeddings=self.lookups[spec.name].num_rows,
            pooling_factor=mean_ids,
            table="" if spec.table == spec.name else spec.table,
            weighted=spec.is_weighted,
            is_list=spec.is_stored_as_list,
            max_length=size or spec.max_length,
        )


def _fit_map(table: str, specs: list[SparseSpec], counts: list[SpilledCounts], directory: Path) -> IdMap:
    """The map of a table's ids, and its file."""
    kept = _frequent(merge_ascending([iter(each) for each in counts]), specs[0].min_count)
    (directory / ID_MAPS).mkdir(exist_ok=True)
    stored = id_table(kept, is_signed=specs[0].type == "integer")
    pq.write_table(stored, directory / ID_MAPS / f"{table}.parquet", compression="lz4")
    return IdMap(kept.keys, kept.counts)


def _frequent(counts: Iterator[KeyCounts], min_count: int) -> KeyCounts:
    """Those ids that occur often enough: the only ones that are held all at once."""
    kept = [piece.at_least(min_count) for piece in counts]
    if not kept:
        return KeyCounts.none()
    texts = [piece.texts for piece in kept if piece.texts is not None]
    return KeyCounts(
        np.concatenate([piece.keys for piece in kept]),
        np.concatenate([piece.counts for piece in kept]),
        pa.concat_arrays(texts) if texts else None,
    )
