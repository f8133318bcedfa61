"""Lists and weights from stored parts to batches, against the rows of the parts read by pyarrow alone."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.batch import Batch
from data.errors import DataError
from data.manifest import Manifest, Part, Split, sha256_of_file
from data.reading.list_pool import ListPool
from data.reading.reader import EvalReader, TrainReader
from data.schema import Schema, SparseFeature

GROUP_ROWS, NUM_TRAIN, NUM_VAL = 64, 3000, 700
SCHEMA = Schema(
    dense=("I1",),
    sparse=(
        SparseFeature(name="user", num_embeddings=50),
        SparseFeature(name="genres", num_embeddings=9, is_list=True),
        SparseFeature(name="tags", num_embeddings=30, is_list=True, weighted=True),
    ),
)


def rows_table(first: int, num_rows: int, rng: np.random.Generator) -> pa.Table:
    """Row i has i % 4 genres (so a quarter of the bags are empty), and up to 40 tags in some row groups only."""
    genres = [rng.integers(0, 9, i % 4).astype(np.int32) for i in range(first, first + num_rows)]
    most = 40 if first // 256 % 3 == 1 else 3
    tags = [rng.integers(0, 30, rng.integers(0, most)).astype(np.int32) for _ in range(num_rows)]
    columns = {
        "row_id": np.arange(first, first + num_rows),
        "label": np.zeros(num_rows, np.int8),
        "I1": np.zeros(num_rows, np.float32),
        "user": rng.integers(0, 50, num_rows).astype(np.int32),
        "genres": pa.array(genres, pa.list_(pa.int32())),
        "tags": pa.array(tags, pa.list_(pa.int32())),
        "tags_weights": pa.array([rng.random(len(bag)).astype(np.float32) for bag in tags], pa.list_(pa.float32())),
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    directory, rng = tmp_path_factory.mktemp("jagged"), np.random.default_rng(0)
    splits = {}
    for name, first, num_rows in (("train", 0, NUM_TRAIN), ("val", NUM_TRAIN, NUM_VAL)):
        (directory / name).mkdir()
        starts = range(first, first + num_rows, 256)
        table = pa.concat_tables(rows_table(start, min(256, first + num_rows - start), rng) for start in starts)
        path = directory / name / "part-00000.parquet"
        pq.write_table(table, path, row_group_size=GROUP_ROWS, write_page_checksum=True)
        part = Part(path=f"{name}/part-00000.parquet", num_rows=num_rows, sha256=sha256_of_file(path))
        splits[name] = Split(num_rows=num_rows, num_positives=0, parts=(part,))
    save(directory, splits, SCHEMA)
    return directory


def save(directory: Path, splits: dict[str, Split], schema: Schema) -> None:
    Manifest(
        schema=schema,
        splits=splits,
        sparse_statistics={},
        dense_statistics={},
        num_lines=NUM_TRAIN + NUM_VAL,
        row_group_rows=GROUP_ROWS,
        settings={},
        origin=(),
        fingerprint="0" * 64,
    ).save(directory)


def bags_of(batch: Batch, feature: str) -> dict[int, tuple[list[int], list[float]]]:
    """Ids and weights of a feature by row id, padding rows as row -1."""
    found = batch.sparse[feature]
    offsets, ids, weights = found.offsets().tolist(), found.values().tolist(), found.weights().tolist()
    spans = zip(batch.row_ids.tolist(), offsets[:-1], offsets[1:], strict=True)
    return {row: (ids[begin:end], weights[begin:end]) for row, begin, end in spans}


def stored_bags(dataset: Path, split: str, feature: str) -> dict[int, tuple[list[int], list[float]]]:
    table = pq.read_table(dataset / split / "part-00000.parquet").to_pylist()
    if feature == "user":
        return {row["row_id"]: ([row["user"]], [1.0]) for row in table}
    return {row["row_id"]: (row[feature], row.get(f"{feature}_weights") or [1.0] * len(row[feature])) for row in table}


def train_reader(dataset: Path, **settings) -> TrainReader:
    defaults = {"global_batch_size": 128, "seed": 1, "rank": 0, "num_ranks": 1, "num_epochs": 2, "window_rows": 512}
    return TrainReader(dataset, **(defaults | settings))


@pytest.mark.parametrize("feature", SCHEMA.sparse_names)
def test_every_bag_of_a_batch_is_the_stored_one(dataset, feature) -> None:
    stored, seen = stored_bags(dataset, "train", feature), set()
    for batch in train_reader(dataset):
        bags = bags_of(batch, feature)
        assert bags == {row: stored[row] for row in bags}
        seen |= bags.keys()
    assert len(seen) > 0.95 * NUM_TRAIN


def test_ranks_share_the_bags_of_a_step(dataset) -> None:
    whole = [bags_of(batch, "tags") for batch in train_reader(dataset)]
    shares = [[bags_of(batch, "tags") for batch in train_reader(dataset, rank=r, num_ranks=2)] for r in range(2)]
    assert [{**first, **second} for first, second in zip(*shares, strict=True)] == whole


def test_reading_goes_on_with_the_same_bags_after_a_stop(dataset) -> None:
    whole = [bags_of(batch, "genres") for batch in train_reader(dataset)]
    for step in (1, 7, 23, 30):
        rest = [bags_of(batch, "genres") for batch in train_reader(dataset, start_step=step)]
        assert rest == whole[step:]


def test_evaluation_has_every_row_once_and_empty_bags_in_padding(dataset) -> None:
    stored, found, padded = stored_bags(dataset, "val", "tags"), {}, []
    for rank in range(2):
        for batch in EvalReader(dataset, split="val", global_batch_size=256, rank=rank, num_ranks=2):
            bags = bags_of(batch, "tags")
            padded.append(bags.pop(-1, ([], [])))
            found |= bags
    assert found == stored
    assert set(map(str, padded)) == {"([], [])"}


def test_id_beyond_its_table_in_a_list_is_named_with_its_row(dataset, tmp_path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/part-00000.parquet").write_bytes((dataset / "train/part-00000.parquet").read_bytes())
    splits = {"train": Manifest.load(dataset).splits["train"]}
    small = SparseFeature(name="genres", num_embeddings=8, is_list=True)
    save(tmp_path, splits, Schema(dense=("I1",), sparse=(SCHEMA.sparse[0], small, SCHEMA.sparse[2])))
    stored = stored_bags(dataset, "train", "genres")
    with pytest.raises(DataError, match="Id 8 of feature 'genres' is outside its table of 8 rows") as caught:
        list(train_reader(tmp_path))
    row = int(str(caught.value).split("row id ")[1].split()[0])
    assert 8 in stored[row][0]


@pytest.mark.parametrize("length", [1, 2, 7])
def test_lists_of_one_length_are_gathered_like_any(length) -> None:
    rng, pool = np.random.default_rng(0), ListPool(8, np.int32, is_weighted=True)
    pool.allocate(3)
    ids, weights = rng.integers(0, 100, (3, 8, length)).astype(np.int32), rng.random((3, 8, length)).astype(np.float32)
    for slot in (2, 0, 1):
        # A slice of a longer column: its offsets do not begin at 0.
        pool.fill(slot, np.arange(9, dtype=np.int32) * length + 5, ids[slot].reshape(-1), weights[slot].reshape(-1))
        pool.allocate(5)
    addresses = rng.permutation(24)
    found = pool.gather(addresses)
    assert found.lengths.tolist() == [length] * 24
    assert found.ids.tolist() == ids.reshape(24, length)[addresses].reshape(-1).tolist()
    assert found.weights is not None
    assert found.weights.tolist() == weights.reshape(24, length)[addresses].reshape(-1).tolist()
