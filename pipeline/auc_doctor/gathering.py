"""Gathers what the AUC doctor looks at: from the manifest, the log, the prepared rows and the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.errors import DataError
from data.manifest import Manifest
from data.storage import inside, open_parquet
from pipeline.auc_doctor.evidence import Evidence, TableEvidence
from pipeline.metrics.evaluation import Evaluation

MOST_TEST_ROWS = 20_000
MOST_TRAIN_ROWS = 2_000_000


@dataclass(frozen=True)
class RowsSeen:
    """A look at the first rows of a held-out split: how many have a twin in train, how often each table sees row 0."""

    share_seen_in_train: float
    unmapped_rates: dict[str, float]
    first_row: int
    last_train_row: int


def gather_evidence(
    evaluation: Evaluation | None,
    *,
    manifest: Manifest | None = None,
    log: Sequence[Mapping[str, float]] = (),
    updated_tables: Mapping[str, bool] | None = None,
    seen: RowsSeen | None = None,
) -> Evidence:
    """The Evidence of a run from whatever is known of it; `log` are the rows of log.jsonl."""
    training = [row for row in log if "train/loss" in row]
    rates = {name: [row[f"lr/{name}"] for row in training if f"lr/{name}" in row] for name in ("sparse", "dense")}
    run = {
        "evaluation": evaluation,
        "losses": [row["train/loss"] for row in training],
        "learning_rates": {name: max(values) for name, values in rates.items() if values},
    }
    if manifest is None:
        return Evidence(**run)
    train = manifest.splits["train"]
    return Evidence(
        **run,
        train_base_rate=train.num_positives / train.num_rows if train.num_rows else None,
        tables=_tables(manifest, updated_tables or {}, seen),
        dense_stds={
            name: item.std for name, item in manifest.dense_statistics.items() if not name.endswith("_missing")
        },
        share_seen_in_train=seen.share_seen_in_train if seen else None,
        num_days=len(manifest.origin),
        split_by=_split_by(manifest),
        last_train_row=seen.last_train_row if seen else None,
        first_test_row=seen.first_row if seen else None,
    )


def look_at_rows(directory: str | Path, manifest: Manifest, split: str) -> RowsSeen | None:
    """What RowsSeen says about the first rows of a split; None where the split or train has no rows.

    Reads up to MOST_TEST_ROWS and MOST_TRAIN_ROWS rows; from a part of train the share of twins is scaled up.
    """
    features = [*manifest.schema.dense, *manifest.schema.sparse_names]
    sparse = set(manifest.schema.sparse_names)
    test_digests, zeros, num_ids, first_row = [], dict.fromkeys(sparse, 0), dict.fromkeys(sparse, 0), None
    for batch in _batches(directory, manifest, split, features, MOST_TEST_ROWS):
        test_digests.append(_digests(batch, features))
        first_row = int(batch.column("row_id")[0].as_py()) if first_row is None else first_row
        for name in sparse:
            ids = _flat(batch.column(name))
            zeros[name] += int(np.count_nonzero(ids == 0))
            num_ids[name] += len(ids)
    train_digests, last_train_row = [], -1
    for batch in _batches(directory, manifest, "train", features, MOST_TRAIN_ROWS):
        train_digests.append(_digests(batch, features))
        last_train_row = max(last_train_row, int(np.max(batch.column("row_id").to_numpy())))
    if first_row is None or not train_digests:
        return None
    train = np.concatenate(train_digests)
    found = float(np.isin(np.concatenate(test_digests), train).mean())
    return RowsSeen(
        share_seen_in_train=min(found * manifest.splits["train"].num_rows / len(train), 1.0),
        unmapped_rates={name: count / max(1, num_ids[name]) for name, count in zeros.items()},
        first_row=first_row,
        last_train_row=last_train_row,
    )


def _tables(manifest: Manifest, updated: Mapping[str, bool], seen: RowsSeen | None) -> list[TableEvidence]:
    lists = {feature.name for feature in manifest.schema.sparse if feature.is_list}
    return [
        TableEvidence(
            name=name,
            num_ids=item.num_ids,
            # A missing list is an empty bag, not an id: it is no part of the unmapped ones.
            missing_rate=0.0 if name in lists else item.missing_rate,
            unmapped_rate=item.unmapped_rate,
            test_unmapped_rate=seen.unmapped_rates.get(name) if seen else None,
            is_updated=updated.get(name),
        )
        for name, item in manifest.sparse_statistics.items()
    ]


def _split_by(manifest: Manifest) -> str:
    split = manifest.settings.get("split", {})
    return str(split.get("by", "fraction")) if isinstance(split, dict) else "fraction"


def _batches(directory: str | Path, manifest: Manifest, split: str, features: list[str], most_rows: int):
    """Batches of a split from its start, `most_rows` rows at most."""
    left = most_rows
    for part in manifest.splits[split].parts if split in manifest.splits else ():
        try:
            with open_parquet(inside(directory, part.path), verify_pages=False) as file:
                for batch in file.iter_batches(1 << 16, columns=["row_id", *features]):
                    if left <= 0:
                        return
                    yield batch.slice(0, left)
                    left -= batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{inside(directory, part.path)} cannot be read: {error}. Prepare the dataset again"
            ) from error


def _digests(batch: pa.RecordBatch, features: list[str]) -> NDArray:
    """A 64-bit digest of each row's features: uint64 [N]. Equal rows have equal digests; others almost never."""
    digest = np.full(batch.num_rows, 0x9E3779B97F4A7C15, np.uint64)
    for name in features:
        column = batch.column(name)
        bits = _list_bits(column) if pa.types.is_list(column.type) else _bits(column)
        digest = _mixed(digest ^ bits)
    return digest


def _list_bits(column: pa.ListArray) -> NDArray:
    """A digest of each list, uint64 [N]: the sum of its values' digests, each of which depends on its place in the list."""
    offsets = column.offsets.to_numpy().astype(np.int64)
    offsets -= offsets[0]
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
    sums = np.zeros(offsets[-1] + 1, np.uint64)
    np.cumsum(_mixed(_mixed(_bits(column.flatten())) ^ places.astype(np.uint64)), out=sums[1:])
    return sums[offsets[1:]] - sums[offsets[:-1]]


def _bits(values: pa.Array) -> NDArray:
    return values.to_numpy(zero_copy_only=False).astype(np.float64).view(np.uint64)


def _mixed(digest: NDArray) -> NDArray:
    """Multiply and rotate: a row's digest depends on each value and on its column."""
    digest = digest * np.uint64(0xBF58476D1CE4E5B9)
    return digest ^ (digest >> np.uint64(29))


def _flat(column: pa.Array) -> NDArray:
    """The ids of a column, those in lists too."""
    return (column.flatten() if pa.types.is_list(column.type) else column).to_numpy(zero_copy_only=False)
