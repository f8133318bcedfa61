"""What is to be scored, cut into pieces that each become one part of the output: raw blocks, or rows of a prepared split."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.manifest import MANIFEST_NAME, Manifest
from data.preparing.spec_recipe import SpecRecipe
from data.preparing.standing import source_marks
from data.raw.bad_lines import BlockAccount
from data.raw.parquet_blocks import TableBlock
from data.raw.raw_blocks import TextBlock
from data.raw.spec_rows import SpecRows
from data.reading.flat_rows import stored_columns
from data.reading.stored_split import PREPARE_AGAIN, StoredSplit
from data.schema import target_column
from data.spec.feature_spec import FeatureSpec, without_label
from pipeline.inference.scoring import Scorer
from pipeline.inference_config import PredictConfig
from pipeline.metrics.scores_table import scores_table

EXPECTED_ROWS = "Expected rows as those that the model was trained on, or without their label (--has_labels=false)."


class Work(Protocol):
    """Pieces in order, and what becomes of one; it travels to the processes, so it holds settings alone."""

    def pieces(self) -> Iterator[Any]: ...

    def marks(self) -> Any:
        """What tells this source apart from one that was altered (JSON-able)."""
        ...

    def scored(self, piece: Any, scorer: Scorer) -> tuple[pa.Table, BlockAccount]:
        """Row ids, labels where there are any, scores; and what was kept and left out."""
        ...


@dataclass(frozen=True)
class RawWork:
    """Blocks of raw files, parsed as the files of the train rows were."""

    recipe: SpecRecipe
    source: str
    block_bytes: int

    def pieces(self) -> Iterator[TextBlock | TableBlock]:
        return iter(self.recipe.open(self.recipe.files(self.source), self.block_bytes))

    def marks(self) -> Any:
        return [[str(each) for each in marks] for marks in source_marks(self.recipe.files(self.source))]

    def scored(self, piece: TextBlock | TableBlock, scorer: Scorer) -> tuple[pa.Table, BlockAccount]:
        rows = self.recipe.parse(piece)
        scores = scorer.score_rows(rows)
        table = scores_table(rows.row_ids, self._labels(rows), scores, scorer.schema.targets)
        return table, BlockAccount.of(piece, rows)

    def _labels(self, rows: SpecRows) -> np.ndarray | None:
        """float32 [n, T], NaN where missing; none where the files have no labels."""
        if not self.recipe.spec.has_label:
            return None
        labels = np.stack([rows.labels, *rows.other_labels], axis=1).astype(np.float32)
        return np.where(labels < 0, np.float32(np.nan), labels)


@dataclass(frozen=True)
class PreparedWork:
    """Rows of a prepared split, read from its parts."""

    directory: Path
    split: str
    block_rows: int
    fingerprint: str

    def pieces(self) -> Iterator[range]:
        num_rows = StoredSplit(self.directory, self.split).num_rows
        for start in range(0, num_rows, self.block_rows):
            yield range(start, min(start + self.block_rows, num_rows))

    def marks(self) -> Any:
        return [self.fingerprint, self.split]

    def scored(self, piece: range, scorer: Scorer) -> tuple[pa.Table, BlockAccount]:
        table = stored_rows(StoredSplit(self.directory, self.split), piece)
        targets = scorer.schema.targets
        names = ["label", *(target_column(name) for name in targets[1:])]
        labels = np.stack([table[name].to_numpy().astype(np.float32) for name in names], axis=1)
        account = BlockAccount(table.nbytes, len(piece), len(piece), Counter(), ())
        return scores_table(table["row_id"].to_numpy(), labels, scorer.score_table(table), targets), account


def open_work(config: PredictConfig, spec: FeatureSpec, data_fingerprint: str) -> RawWork | PreparedWork:
    """What `config.source` holds. DataError for prepared data whose id maps are not the model's."""
    directory = Path(config.source)
    if not (directory / MANIFEST_NAME).is_file():
        recipe = SpecRecipe(spec if config.has_labels else without_label(spec))
        return RawWork(recipe, config.source, config.block_mib << 20)
    manifest = Manifest.load(directory)
    if manifest.fingerprint != data_fingerprint:
        raise DataError(
            f"{directory} has the fingerprint {manifest.fingerprint[:12]}, the model was trained on {data_fingerprint[:12]}: its"
            " ids were mapped to rows in another way, and scores would be wrong. Score its raw files instead."
        )
    manifest.split(config.split)
    return PreparedWork(directory, config.split, config.block_rows, manifest.fingerprint)


def stored_rows(stored: StoredSplit, rows: range) -> pa.Table:
    """Some rows of a split, with ids, labels and features, as its parts store them."""
    columns = ["row_id", *stored.labels, *stored_columns(stored.schema)]
    tables = []
    for piece in stored.pieces(rows.start, len(rows)):
        try:
            with stored.open_part(piece.part) as part:
                table = part.read_row_group(piece.group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{stored.paths[piece.part]} cannot be read: {error}. {PREPARE_AGAIN}") from error
        tables.append(table.slice(piece.begin, piece.end - piece.begin))
    return pa.concat_tables(tables)
