"""Raw Criteo text to a prepared dataset: Parquet parts, id maps and a manifest, in memory that does not grow with the rows.

With ids=map two passes: the first counts the ids of the train split, the second looks rows up and writes them. With ids=hash
one pass. A block is parsed and turned into columns on a thread of its own; results are taken and written in order.

Legend: n rows of a block.
"""

import json
import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.aside import written_aside
from data.config import PrepareConfig
from data.criteo import MLPERF_TABLE_SIZES, NUM_SPARSE
from data.errors import DataError
from data.manifest import MANIFEST_VERSION, SPLITS, Manifest, Split, fingerprint_of
from data.preparing.ordered import map_in_order
from data.preparing.parts import PartWriter
from data.preparing.prepared_before import find_prepared
from data.preparing.progress import Progress
from data.preparing.recipe import Fitted, Outcome, Recipe, Tally
from data.preparing.spec_recipe import SpecRecipe
from data.preparing.splits import TRAIN, Splitter
from data.raw.bad_lines import BadLines, BlockAccount
from data.spec.criteo import criteo_spec
from data.spec.feature_spec import FeatureSpec
from data.spec.load import load_spec

logger = logging.getLogger(__name__)


def prepare(config: PrepareConfig) -> Manifest:
    """The manifest of `config.output`, which then holds the prepared dataset.

    Where it holds the same thing already (same settings, source bytes and intact parts), nothing is done but saying so.
    DataError for a source that cannot be used, too many bad lines, an output that holds something else, a full disk.
    """
    recipe = SpecRecipe(spec_of_config(config))
    files = recipe.files(config.source)
    settings = contents_settings(config, recipe.spec)
    if found := find_prepared(Path(config.output), files, settings, config.force):
        logger.info(
            "%s holds this dataset already (fingerprint %s): nothing to do", config.output, found.fingerprint[:12]
        )
        return found
    with written_aside(Path(config.output)) as directory:
        directory.mkdir()
        manifest = _Preparation(config, recipe, files, directory).run(settings)
        manifest.save(directory)
    return manifest


def spec_of_config(config: PrepareConfig) -> FeatureSpec:
    """The spec in the file that is named; Criteo's, with the settings of the job, where none is."""
    if config.spec:
        return load_spec(config.spec)
    return criteo_spec(config.ids, config.min_count, config.table_sizes, config.dense_missing_indicator)


def contents_settings(config: PrepareConfig, spec: FeatureSpec) -> dict[str, Any]:
    """The settings that decide what a prepared dataset contains; paths, threads and the like do not."""
    settings = {"spec": asdict(spec), "split": asdict(config.split)}
    settings |= {name: getattr(config, name) for name in ("rows_per_part", "row_group_rows")}
    if not config.spec:
        settings = _criteo_settings(config) | {name: settings[name] for name in settings if name != "spec"}
    return json.loads(json.dumps(settings))


def _criteo_settings(config: PrepareConfig) -> dict[str, Any]:
    settings = {"ids": config.ids, "dense_missing_indicator": config.dense_missing_indicator}
    if config.ids == "map":
        return settings | {"min_count": config.min_count}
    sizes = config.table_sizes or MLPERF_TABLE_SIZES
    return settings | {"table_sizes": sizes * NUM_SPARSE if len(sizes) == 1 else sizes}


@dataclass(frozen=True)
class _Counted:
    """What the first pass takes from a block."""

    account: BlockAccount
    tally: Any


@dataclass(frozen=True)
class _Columns:
    """What the writing pass takes from a block: a table per split that has rows in it, and a tally of its train rows."""

    account: BlockAccount
    tables: dict[int, pa.Table]
    tally: Any


class _Preparation:
    """One run of the job into an empty directory."""

    def __init__(self, config: PrepareConfig, recipe: Recipe, files: list[Path], directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._recipe = recipe
        self._source = recipe.open(files, config.block_mib << 20)
        self._num_source_bytes = sum(file.stat().st_size for file in files)
        self._splitter = Splitter.of(config.split, files, self._source.count_rows)

    def run(self, settings: dict[str, Any]) -> Manifest:
        """Write the parts and id maps; the manifest is returned, not yet written."""
        fitted = self._recipe.fit(self._count() if self._recipe.counts_first else None, self._directory)
        tally = fitted.new_tally()
        bad, splits = self._write(fitted, tally)
        self._check_splits(splits)
        return self._manifest(settings, fitted.outcome(tally), bad, splits)

    def _count(self) -> Tally:
        bad, tally = BadLines(self._config.max_bad_fraction, self._recipe.expected_lines), self._recipe.new_tally()
        with Progress("counting ids", self._num_source_bytes, self._config.show_progress) as progress:
            for counted in map_in_order(self._count_block, self._source, self._config.num_threads):
                bad.add(counted.account)
                tally.add(counted.tally)
                progress.advance(counted.account.num_source_bytes, counted.account.num_lines)
        bad.check()
        return tally

    def _count_block(self, block: Any) -> _Counted:
        rows = self._recipe.parse(block)
        is_train = self._splitter.assign(block, rows) == TRAIN
        return _Counted(BlockAccount.of(block, rows), self._recipe.count(rows, is_train))

    def _write(self, fitted: Fitted, tally: Tally) -> tuple[BadLines, dict[str, Split]]:
        bad = BadLines(self._config.max_bad_fraction, self._recipe.expected_lines)
        sizes = self._config.rows_per_part, self._config.row_group_rows
        stored = fitted.stored_schema(self._source.has_truth)
        writers = [PartWriter(self._directory, split, stored, *sizes) for split in SPLITS]
        try:
            with Progress("writing parts", self._num_source_bytes, self._config.show_progress) as progress:
                for columns in map_in_order(
                    partial(self._transform_block, fitted=fitted), self._source, self._config.num_threads
                ):
                    bad.add(columns.account)
                    for split, table in columns.tables.items():
                        writers[split].write(table)
                    tally.add(columns.tally)
                    progress.advance(columns.account.num_source_bytes, columns.account.num_lines)
            bad.check()
            return bad, {split: writer.close() for split, writer in zip(SPLITS, writers, strict=True)}
        finally:
            for writer in writers:
                writer.abandon()

    def _transform_block(self, block: Any, *, fitted: Fitted) -> _Columns:
        rows = self._recipe.parse(block)
        split = self._splitter.assign(block, rows)
        table, tally = fitted.columns(rows, split == TRAIN)
        tables = {int(s): table.filter(pa.array(split == s)) for s in np.unique(split)}
        return _Columns(BlockAccount.of(block, rows), tables, tally)

    def _check_splits(self, splits: dict[str, Split]) -> None:
        if not splits["train"].num_rows:
            held = ", ".join(f"{split.num_rows} in {name}" for name, split in splits.items())
            raise DataError(
                f"{self._config.source} leaves no row to train on ({held}). Give more rows, or split them otherwise."
            )

    def _manifest(
        self, settings: dict[str, Any], outcome: Outcome, bad: BadLines, splits: dict[str, Split]
    ) -> Manifest:
        origin = tuple(self._source.origin)
        checksums = [(file.sha256, file.truth_sha256) for file in origin]
        return Manifest(
            schema=outcome.schema,
            splits=splits,
            sparse_statistics=outcome.sparse_statistics,
            dense_statistics=outcome.dense_statistics,
            num_lines=bad.num_lines,
            bad_lines=dict(bad.counts),
            has_true_probability=self._source.has_truth,
            row_group_rows=self._config.row_group_rows,
            settings=settings,
            origin=origin,
            fingerprint=fingerprint_of(MANIFEST_VERSION, settings, checksums),
        )
