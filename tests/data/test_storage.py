"""Prepared directories behind URLs: fsspec's memory and local filesystems."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from data.errors import ConfigError, DataError
from data.manifest import Manifest
from data.reading.reader import EvalReader, TrainReader, read_columns


@pytest.fixture
def url(write_dataset, request) -> Iterator[str]:
    """A dataset of 2,500 train rows and 130 val rows, in a filesystem of fsspec's."""
    directory: Path = write_dataset(2500, 130)
    if request.param == "file":
        yield f"file://{directory}"
        return
    filesystem = fsspec.filesystem("memory")
    filesystem.put(f"{directory}/", "/prepared/", recursive=True)
    yield "memory://prepared"
    filesystem.rm("/prepared", recursive=True)


SETTINGS = {"global_batch_size": 128, "seed": 3, "rank": 0, "num_ranks": 1, "num_epochs": 2}


@pytest.mark.parametrize("url", ["file", "memory"], indirect=True)
def test_batches_from_a_url_are_those_from_the_disk(url, tmp_path) -> None:
    local, remote = TrainReader(tmp_path, **SETTINGS), TrainReader(url, **SETTINGS)
    for expected, found in zip(local, remote, strict=True):
        assert found.row_ids.tolist() == expected.row_ids.tolist()
        assert found.sparse.values().tolist() == expected.sparse.values().tolist()
    reader = EvalReader(url, split="val", global_batch_size=64, rank=0, num_ranks=1)
    assert sum(int((batch.row_ids >= 0).sum()) for batch in reader) == 130
    assert read_columns(url, "val", ["row_id"])["row_id"].to_pylist() == list(range(2500, 2630))


@pytest.mark.parametrize("url", ["memory"], indirect=True)
def test_damage_behind_a_url_is_named(url) -> None:
    filesystem = fsspec.filesystem("memory")
    part = "/prepared/train/part-00001.parquet"
    good = filesystem.cat(part)
    filesystem.pipe(part, good[:2000] + bytes([good[2000] ^ 255]) + good[2001:])
    with pytest.raises(DataError, match=r"Row group \d+ of memory://prepared/train/part-00001\.parquet cannot be read"):
        list(TrainReader(url, **SETTINGS))
    filesystem.pipe(part, good[:-10])
    with pytest.raises(DataError, match=r"part-00001\.parquet is no Parquet file, or was cut short"):
        TrainReader(url, **SETTINGS)
    filesystem.rm(part)
    with pytest.raises(DataError, match=r"part-00001\.parquet is missing"):
        TrainReader(url, **SETTINGS)


def test_url_without_a_dataset_or_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DataError, match=r"memory://nothing holds no manifest\.json"):
        Manifest.load("memory://nothing")
    with pytest.raises(ConfigError, match="ftpx://nothing"):
        Manifest.load("ftpx://nothing")
