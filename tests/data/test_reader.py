import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data.batch import Batch
from data.errors import ConfigError, DataError
from data.reading.order import SampleOrder
from data.reading.reader import EvalReader, TrainReader, read_columns

WriteDataset = Callable[..., Path]
NUM_EMBEDDINGS = 97


def train_reader(directory: Path, rank: int = 0, num_ranks: int = 1, **settings: int) -> TrainReader:
    settings = {"global_batch_size": 120, "seed": 3, "num_epochs": 2, "window_rows": 360, **settings}
    return TrainReader(directory, rank=rank, num_ranks=num_ranks, **settings)


def row_ids(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.row_ids.tolist() for batch in batches]


def check_values(batch: Batch) -> None:
    """Every value of a batch is the one that the fixture wrote for its row id."""
    rows = batch.row_ids
    ids = torch.stack([rows % NUM_EMBEDDINGS, rows * 7 % NUM_EMBEDDINGS, rows * 11 % NUM_EMBEDDINGS])
    assert torch.equal(batch.dense, torch.stack([rows, -rows], dim=1).float())
    assert torch.equal(batch.labels, (rows % 3 == 0).float())
    assert torch.equal(batch.sparse.values(), ids.reshape(-1).int())
    assert batch.sparse.keys() == ["C1", "C2", "C3"]


def test_train_batches_hold_the_values_of_their_rows(write_dataset: WriteDataset) -> None:
    reader = train_reader(write_dataset(2500))

    batches = list(reader)

    assert (reader.steps_per_epoch, reader.num_steps, len(batches)) == (20, 40, 40)
    assert all(batch.num_rows == 120 for batch in batches)
    for batch in batches:
        check_values(batch)


def test_train_batches_follow_the_sample_order(write_dataset: WriteDataset) -> None:
    order = SampleOrder(num_rows=2500, global_batch_size=120, seed=3, window_rows=360)

    found = row_ids(train_reader(write_dataset(2500)))

    assert found == [order.step_rows(step).reshape(-1).tolist() for step in range(40)]


@pytest.mark.parametrize("num_ranks", [2, 4, 8])
def test_global_batches_are_the_same_for_every_number_of_ranks(write_dataset: WriteDataset, num_ranks: int) -> None:
    directory = write_dataset(2500)

    shares = [row_ids(train_reader(directory, rank, num_ranks)) for rank in range(num_ranks)]

    together = [[row for share in step for row in share] for step in zip(*shares, strict=True)]
    assert together == row_ids(train_reader(directory))


@pytest.mark.parametrize("start_step", [0, 1, 3, 19, 20, 31, 39, 40])
def test_resumed_reader_goes_on_where_the_first_stopped(write_dataset: WriteDataset, start_step: int) -> None:
    directory = write_dataset(2500)

    resumed = row_ids(train_reader(directory, 1, 2, start_step=start_step))

    assert resumed == row_ids(train_reader(directory, 1, 2))[start_step:]


def test_iterating_again_starts_again(write_dataset: WriteDataset) -> None:
    reader = train_reader(write_dataset(500))

    assert row_ids(reader) == row_ids(reader)


def test_two_iterators_of_one_reader_do_not_disturb_each_other(write_dataset: WriteDataset) -> None:
    reader = train_reader(write_dataset(2500))

    pairs = list(zip(reader, reader, strict=True))

    assert all(torch.equal(first.sparse.values(), second.sparse.values()) for first, second in pairs)


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("num_rows", [0, 1, 3, 65, 10_007])
def test_evaluation_covers_every_row_once_in_equal_steps(
    write_dataset: WriteDataset, num_rows: int, num_ranks: int
) -> None:
    directory = write_dataset(10, num_rows)

    readers = [
        EvalReader(directory, split="val", global_batch_size=64, rank=r, num_ranks=num_ranks) for r in range(num_ranks)
    ]
    batches = [batch for reader in readers for batch in reader]

    rows = torch.cat([batch.row_ids for batch in batches])
    assert rows[rows >= 0].tolist() == list(range(10, 10 + num_rows))
    assert {batch.num_rows for batch in batches} == {64 // num_ranks}
    assert len(batches) == num_ranks * readers[0].num_steps
    assert len({reader.num_steps for reader in readers}) == 1


def test_padding_rows_are_marked_and_empty(write_dataset: WriteDataset) -> None:
    directory = write_dataset(10, 3)

    (batch,) = EvalReader(directory, split="val", global_batch_size=5, rank=0, num_ranks=1)

    assert batch.row_ids.tolist() == [10, 11, 12, -1, -1]
    assert batch.labels.tolist() == [0, 0, 1, 0, 0]
    assert batch.dense[3:].abs().sum() == 0
    assert batch.sparse["C2"].values().tolist() == [70, 77, 84, 0, 0]


def test_reader_leaves_other_columns_alone(write_dataset: WriteDataset) -> None:
    directory = write_dataset(500)
    part = directory / "train" / "part-00000.parquet"
    overwrite_column(part, "true_probability", group=2)

    with pytest.raises(OSError, match="could not verify page"):
        pq.ParquetFile(part, page_checksum_verification=True).read(columns=["true_probability"])
    assert len(list(train_reader(directory))) == 8


def test_altered_row_group_is_named(write_dataset: WriteDataset) -> None:
    directory = write_dataset(500)
    overwrite_column(directory / "train" / "part-00000.parquet", "C2", group=2)

    with pytest.raises(DataError, match=r"Row group 2 of .*part-00000\.parquet cannot be read.*prepare"):
        list(train_reader(directory))


def overwrite_column(path: Path, column: str, group: int) -> None:
    metadata = pq.read_metadata(path)
    chunk = metadata.row_group(group).column(metadata.schema.to_arrow_schema().get_field_index(column))
    content = bytearray(path.read_bytes())
    end = (
        chunk.data_page_offset
        + chunk.total_compressed_size
        - (chunk.data_page_offset - (chunk.dictionary_page_offset or 0))
    )
    content[end - 8 : end] = bytes(value ^ 0xFF for value in content[end - 8 : end])
    path.write_bytes(content)


def test_missing_part_is_named(write_dataset: WriteDataset) -> None:
    directory = write_dataset(2500)
    (directory / "train" / "part-00001.parquet").unlink()

    with pytest.raises(DataError, match=r"part-00001\.parquet is missing"):
        train_reader(directory)


@pytest.mark.parametrize("num_bytes", [0, 3, 100, 5000])
def test_part_cut_short_is_named(write_dataset: WriteDataset, num_bytes: int) -> None:
    directory = write_dataset(2500)
    part = directory / "train" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:num_bytes])

    with pytest.raises(DataError, match=r"part-00001\.parquet is no Parquet file, or was cut short"):
        train_reader(directory)


def test_part_with_another_number_of_rows_is_named(write_dataset: WriteDataset) -> None:
    directory = write_dataset(2500)
    part = directory / "train" / "part-00001.parquet"
    pq.write_table(pq.read_table(part).slice(0, 990), part, row_group_size=64)

    with pytest.raises(DataError, match=r"part-00001\.parquet holds 990 rows, the manifest says 1000"):
        train_reader(directory)


def test_part_with_other_row_groups_is_named(write_dataset: WriteDataset) -> None:
    directory = write_dataset(2500)
    part = directory / "train" / "part-00001.parquet"
    pq.write_table(pq.read_table(part), part, row_group_size=100)

    with pytest.raises(DataError, match=r"part-00001\.parquet has row groups of \[100\] rows, expected 64"):
        train_reader(directory)


def test_part_that_lacks_a_column_is_named(write_dataset: WriteDataset) -> None:
    directory = write_dataset(500)
    part = directory / "train" / "part-00000.parquet"
    pq.write_table(pq.read_table(part).drop_columns(["C2"]), part, row_group_size=64)

    with pytest.raises(DataError, match=r"part-00000\.parquet has no column 'C2'"):
        train_reader(directory)


def test_missing_value_in_a_part_is_named(write_dataset: WriteDataset) -> None:
    def with_null(start: int, num_rows: int) -> pa.Table:
        table = conftest_table(start, num_rows)
        values = pa.array([None, *range(1, num_rows)], pa.int32())
        return table.set_column(table.column_names.index("C2"), "C2", values)

    with pytest.raises(DataError, match=r"Row group 0 of .*part-00000\.parquet cannot be read"):
        list(train_reader(write_dataset(90, table=with_null), global_batch_size=90))


@pytest.mark.parametrize("value", [-1, 97, 2**31 - 1])
def test_id_outside_its_table_is_named(write_dataset: WriteDataset, value: int) -> None:
    def with_wrong_id(start: int, num_rows: int) -> pa.Table:
        table = conftest_table(start, num_rows)
        ids = table["C2"].to_numpy().copy()
        ids[100] = value
        return table.set_column(table.column_names.index("C2"), "C2", pa.array(ids))

    directory = write_dataset(500, table=with_wrong_id)

    with pytest.raises(
        DataError, match=rf"Id {value} of feature 'C2' .* 97 rows \(row id 100 in row group 1 of .*part-00000"
    ):
        list(train_reader(directory))


def conftest_table(start: int, num_rows: int) -> pa.Table:
    rows = np.arange(start, start + num_rows, dtype=np.int64)
    ids = {name: np.zeros(num_rows, np.int32) for name in ("C1", "C2", "C3")}
    return pa.table(
        {"row_id": rows, "label": rows.astype(np.int8), "I1": rows.astype("f4"), "I2": rows.astype("f4"), **ids}
    )


def test_split_below_one_global_batch_is_refused_with_both_numbers(write_dataset: WriteDataset) -> None:
    with pytest.raises(ConfigError, match=r"Split 'train' of .* holds 100 rows, a global batch 120"):
        train_reader(write_dataset(100))


def test_empty_train_split_is_refused(write_dataset: WriteDataset) -> None:
    with pytest.raises(ConfigError, match=r"holds 0 rows"):
        train_reader(write_dataset(0, 10))


def test_unknown_split_is_refused_with_the_known_ones(write_dataset: WriteDataset) -> None:
    with pytest.raises(DataError, match=r"no split 'tset'; this dataset has train, val"):
        EvalReader(write_dataset(10), split="tset", global_batch_size=8, rank=0, num_ranks=1)


def test_whole_columns_come_in_row_order_and_absent_ones_are_left_out(write_dataset: WriteDataset) -> None:
    table = read_columns(write_dataset(10, 2500), "val", ["row_id", "true_probability", "wages"])

    assert table.column_names == ["row_id", "true_probability"]
    assert table["row_id"].to_pylist() == list(range(10, 2510))
    assert table["true_probability"][1].as_py() == 11 / 12


@pytest.mark.parametrize("num_taken", [0, 1, 13, 20, 40])
def test_closing_early_ends_the_reading_at_once(write_dataset: WriteDataset, num_taken: int) -> None:
    batches = iter(train_reader(write_dataset(2500)))
    for _ in range(num_taken):
        next(batches)
    # Time to come as far ahead as it may: after 13 steps that is the end of the epoch, where it waits for its consumer.
    time.sleep(0.3)

    start = time.monotonic()
    del batches

    # Far below the 30 seconds for which a thread that does not end would be waited for.
    assert time.monotonic() - start < 10
    assert all(thread.name != "shardline-prefetch" for thread in threading.enumerate())
