"""Raw Criteo text to a prepared dataset: Parquet parts, id maps and a manifest, in memory that does not grow with the rows.

With ids=map two passes: the first counts the ids of the train split, in files where memory has no room for the counts, the
second looks rows up and writes them. With ids=hash one pass. A block is parsed and turned into columns on a thread of its own;
results are taken and written in order.

Legend: n rows of a block.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.config import PrepareConfig
from data.criteo import MLPERF_TABLE_SIZES, NUM_SPARSE
from data.errors import ConfigError, DataError
from data.freed_memory import give_back_freed_memory
from data.manifest import MANIFEST_VERSION, SPLITS, Manifest, Split, fingerprint_of
from data.preparing.arrow_memory import memory_that_goes_back
from data.preparing.count_runs import RunFolder
from data.preparing.ordered import Item, Result, map_in_order
from data.preparing.parts import Finished, PartWriter
from data.preparing.prepared_before import find_prepared
from data.preparing.progress import Progress
from data.preparing.ray_engine import map_on_ray, ray_cluster
from data.preparing.recipe import Fitted, Outcome, Recipe
from data.preparing.spec_recipe import SpecRecipe
from data.preparing.splits import LEFT_OUT, TRAIN, Splitter
from data.preparing.standing import Standing, source_marks, whole_counts_of, whole_parts_of
from data.preparing.tallies import Tally
from data.preparing.workplace import COUNTED, COUNTING, NOTES_VERSION, WRITING, Workplace, workplace
from data.raw.bad_lines import BadLines, BlockAccount
from data.spec.criteo import criteo_spec
from data.spec.feature_spec import FeatureSpec, plain_spec
from data.spec.load import load_spec

logger = logging.getLogger(__name__)
_BLOCKS_TO_TRIM = 8
"""Blocks after which freed memory goes back: often enough that it does not creep up, and too rarely to take time."""


def prepare(config: PrepareConfig) -> Manifest:
    """The manifest of `config.output`, which then holds the prepared dataset.

    Where it holds the same thing already (same settings, source bytes and intact parts), nothing is done but saying so.
    Where an earlier run was stopped, its finished parts are checked and kept: the result is the same to the byte. DataError for
    a source that cannot be used, too many bad lines, an output that holds something else, a full disk.
    """
    recipe = SpecRecipe(spec_of_config(config))
    files = recipe.files(config.source)
    settings = contents_settings(config, recipe.spec)
    if found := find_prepared(Path(config.output), files, settings, config.force):
        logger.info(
            "%s holds this dataset already (fingerprint %s): nothing to do", config.output, found.fingerprint[:12]
        )
        return found
    identity = {
        "version": MANIFEST_VERSION,
        "notes": NOTES_VERSION,
        "settings": settings,
        "block_mib": config.block_mib,
        "source": source_marks(files),
    }
    with workplace(Path(config.output), identity, config.checkpoint_seconds) as place, _engine(config):
        with memory_that_goes_back():
            manifest = _Preparation(config, recipe, files, place).run(settings)
        manifest.save(place.directory)
    return manifest


def _engine(config: PrepareConfig) -> AbstractContextManager[None]:
    """What the passes need to run: a cluster, or nothing."""
    return ray_cluster(config.ray_address, config.num_threads) if config.engine == "ray" else nullcontext()


def spec_of_config(config: PrepareConfig) -> FeatureSpec:
    """The spec in the file that is named; Criteo's, with the settings of the job, where none is."""
    if config.spec:
        spec = load_spec(config.spec)
        if spec.other_labels and config.negative_sampling_rate < 1:
            raise ConfigError(
                f"negative_sampling_rate is {config.negative_sampling_rate}, but the spec has targets "
                f"{', '.join(spec.target_names)}: leaving out negatives of one would bias the others. Set it to 1."
            )
        return spec
    return criteo_spec(config.ids, config.min_count, config.table_sizes, config.dense_missing_indicator)


def contents_settings(config: PrepareConfig, spec: FeatureSpec) -> dict[str, Any]:
    """The settings that decide what a prepared dataset contains; paths, threads and the like do not."""
    settings: dict[str, Any] = {"spec": plain_spec(spec), "split": asdict(config.split)}
    settings |= {name: getattr(config, name) for name in ("rows_per_part", "row_group_rows")}
    if config.negative_sampling_rate < 1:
        settings["negative_sampling_rate"] = config.negative_sampling_rate
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
    """What the first pass takes from a block; no account where an earlier run counted it."""

    num_source_bytes: int
    num_lines: int
    account: BlockAccount | None = None
    tally: Any = None


@dataclass(frozen=True)
class _Columns:
    """What the writing pass takes from a block: a table per split that has rows in it, and a tally of its train rows.

    No account where an earlier run wrote all of it.
    """

    num_source_bytes: int
    num_lines: int
    account: BlockAccount | None = None
    tables: Mapping[int, pa.Table] = field(default_factory=dict)
    tally: Any = None


class _Preparation:
    """One run of the job; what an earlier one left in the workplace is not done again."""

    def __init__(self, config: PrepareConfig, recipe: Recipe, files: list[Path], place: Workplace) -> None:
        self._config = config
        self._place = place
        self._recipe = recipe
        self._source = recipe.open(files, config.block_mib << 20)
        self._num_source_bytes = sum(file.stat().st_size for file in files)
        self._splitter = Splitter.of(config.split, files, self._source.count_rows, config.negative_sampling_rate)

    def run(self, settings: dict[str, Any]) -> Manifest:
        """Write the parts and id maps; the manifest is returned, not yet written."""
        fitted = self._recipe.fit(self._counted() if self._recipe.counts_first else None, self._place.directory)
        bad, splits, tally = self._write(fitted)
        self._check_splits(splits)
        return self._manifest(settings, fitted.outcome(tally), bad, splits)

    def _counted(self) -> Tally:
        """The tally of the first pass, kept for a run that is stopped in the second."""
        noted = self._place.noted(COUNTED)
        tally = whole_counts_of(noted, *self._runs(COUNTING)) if noted else None
        if tally is None:
            tally = self._count()
            self._place.note(COUNTED, tally)
            self._place.forget(COUNTING)
        return tally

    def _count(self) -> Tally:
        at = self._standing(self._place.noted(COUNTING), COUNTING)
        count = partial(self._count_block, at.next_block)
        with Progress("counting ids", self._num_source_bytes, self._config.show_progress) as progress:
            for number, counted in enumerate(self._map(count, enumerate(self._source))):
                progress.advance(counted.num_source_bytes, counted.num_lines)
                if counted.account is None:
                    continue
                at.add(number, counted.account, counted.tally)
                if self._place.is_note_due:
                    self._place.note(COUNTING, at)
        at.bad.check()
        return at.tally

    def _count_block(self, first: int, numbered: tuple[int, Any]) -> "_Counted":
        number, block = numbered
        if number < first:
            return _Counted(block.num_source_bytes, block.num_lines)
        rows = self._recipe.parse(block)
        is_train = self._splitter.assign(block, rows) == TRAIN
        tally = self._recipe.count(rows, is_train)
        return _Counted(block.num_source_bytes, block.num_lines, BlockAccount.of(block, rows), tally)

    def _write(self, fitted: Fitted) -> tuple[BadLines, dict[str, Split], Tally]:
        at = self._standing(whole_parts_of(self._place.noted(WRITING), self._place.directory), WRITING)
        writers = self._writers(fitted, at.finished)
        first = min(at.next_block, *(writer.first_block for writer in writers))
        transform = partial(self._transform_block, first, fitted=fitted)
        try:
            with Progress("writing parts", self._num_source_bytes, self._config.show_progress) as progress:
                for number, columns in enumerate(self._map(transform, enumerate(self._source))):
                    progress.advance(columns.num_source_bytes, columns.num_lines)
                    self._take(number, columns, writers, at)
                    if number % _BLOCKS_TO_TRIM == 0:
                        give_back_freed_memory()
            at.bad.check()
            return at.bad, {split: writer.close() for split, writer in zip(SPLITS, writers, strict=True)}, at.tally
        finally:
            for writer in writers:
                writer.abandon()

    def _take(self, number: int, columns: "_Columns", writers: list[PartWriter], at: Standing) -> None:
        if columns.account is None:
            return
        for split, table in columns.tables.items():
            writers[split].write(table, number)
        if number < at.next_block:
            return
        at.add(number, columns.account, columns.tally)
        if self._place.is_note_due:
            at.finished = [writer.finished(at.next_block) for writer in writers]
            self._place.note(WRITING, at)

    def _writers(self, fitted: Fitted, finished: list[Finished]) -> list[PartWriter]:
        sizes = self._config.rows_per_part, self._config.row_group_rows
        stored = fitted.stored_schema(self._source.has_truth)
        begins = finished or [Finished()] * len(SPLITS)
        return [
            PartWriter(self._place.directory, split, stored, *sizes, finished=begin)
            for split, begin in zip(SPLITS, begins, strict=True)
        ]

    def _transform_block(self, first: int, numbered: tuple[int, Any], *, fitted: Fitted) -> "_Columns":
        number, block = numbered
        if number < first:
            return _Columns(block.num_source_bytes, block.num_lines)
        rows = self._recipe.parse(block)
        split = self._splitter.assign(block, rows)
        table, tally = fitted.columns(rows, split == TRAIN)
        tables = _by_split(table, split)
        return _Columns(block.num_source_bytes, block.num_lines, BlockAccount.of(block, rows), tables, tally)

    def _map(self, function: Callable[[Item], Result], blocks: Iterable[Item]) -> Iterator[Result]:
        """The results in order, from threads or from the cluster."""
        if self._config.engine == "ray":
            return map_on_ray(function, blocks)
        return map_in_order(function, blocks, self._config.num_threads)

    def _standing(self, noted: Standing | None, name: str) -> Standing:
        """Where an earlier run stood in a pass, or the beginning."""
        runs = self._runs(name)
        if whole_counts_of(noted.tally if noted else None, *runs) and noted:
            return noted
        return Standing(self._no_bad_lines(), Tally(*runs))

    def _runs(self, name: str) -> tuple[RunFolder, int]:
        """Where a pass keeps the counts that memory has no room for, and how much room they have, in bytes."""
        return RunFolder(self._place.counts_folder(name)), self._config.count_memory_mib << 20

    def _no_bad_lines(self) -> BadLines:
        return BadLines(self._config.max_bad_fraction, self._recipe.expected_lines)

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
            negative_sampling_rate=self._config.negative_sampling_rate,
            num_left_out=bad.num_lines - bad.counts.total() - sum(split.num_rows for split in splits.values()),
            has_true_probability=self._source.has_truth,
            row_group_rows=self._config.row_group_rows,
            settings=settings,
            origin=origin,
            fingerprint=fingerprint_of(MANIFEST_VERSION, settings, checksums),
        )


def _by_split(table: pa.Table, split: np.ndarray) -> dict[int, pa.Table]:
    """The rows of every split that has some, in their order, each with memory of its own: few rows wait long for a row group.

    `split`: uint8 [n].
    """
    order = np.argsort(split, kind="stable")
    ends = np.cumsum(np.bincount(split, minlength=LEFT_OUT))
    rows = np.split(order, ends[:LEFT_OUT])
    return {s: table.take(pa.array(rows[s])) for s in range(LEFT_OUT) if len(rows[s])}
