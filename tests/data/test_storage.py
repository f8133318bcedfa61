"""Prepared directories and raw files behind URLs: fsspec's memory and local filesystems."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.config import GenerateConfig, PrepareConfig
from data.errors import ConfigError, DataError
from data.generating.generator import generate
from data.inspecting.sample import take_sample
from data.manifest import Manifest
from data.preparing.prepare import prepare
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


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Raw data of three kinds: days of Criteo text, plain and packed, with their probabilities; CSV; Parquet."""
    folder = tmp_path_factory.mktemp("raw")
    generate(GenerateConfig(output=str(folder / "days"), num_rows=3000, num_days=2))
    (folder / "days/day_1.gz").write_bytes(gzip.compress((folder / "days/day_1").read_bytes()))
    (folder / "days/day_1").unlink()
    (folder / "rows.csv").write_text("y,user\n" + "".join(f"{n % 2},u{n % 50}\n" for n in range(500)))
    pq.write_table(
        pa.table({"y": [n % 2 for n in range(500)], "user": [f"u{n % 50}" for n in range(500)]}),
        folder / "rows.parquet",
    )
    for kind in ("csv", "parquet"):
        (folder / f"{kind}.yaml").write_text(
            f"format: {{kind: {kind}}}\nlabel: {{column: y}}\nsparse: [{{column: user}}]\n"
        )
    return folder


@pytest.fixture(params=["file", "memory"])
def raw_url(raw, request) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{raw}"
        return
    filesystem = fsspec.filesystem("memory")
    filesystem.put(f"{raw}/", "/raw/", recursive=True)
    yield "memory://raw"
    filesystem.rm("/raw", recursive=True)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "spec"), [("days", ""), ("rows.csv", "csv.yaml"), ("rows.parquet", "parquet.yaml")])
def test_raw_files_behind_a_url_are_prepared_as_those_on_the_disk(raw, raw_url, tmp_path, name, spec) -> None:
    settings = {"spec": str(raw / spec) if spec else "", "show_progress": False}
    prepare(PrepareConfig(source=str(raw / name), output=str(tmp_path / "disk"), **settings))
    prepare(PrepareConfig(source=f"{raw_url}/{name}", output=str(tmp_path / "url"), **settings))
    assert contents(tmp_path / "url") == contents(tmp_path / "disk")
    assert prepare(PrepareConfig(source=f"{raw_url}/{name}", output=str(tmp_path / "url"), **settings)), "nothing to do"


def test_raw_files_behind_a_url_can_be_inspected_and_are_named_when_absent(raw, raw_url, tmp_path) -> None:
    assert take_sample(f"{raw_url}/rows.csv", 10).num_rows == 10
    assert take_sample(f"{raw_url}/rows.parquet", 10).columns["y"][:2] == [0, 1]
    with pytest.raises(DataError, match=r"raw.*/none\.tsv does not exist"):
        prepare(PrepareConfig(source=f"{raw_url}/none.tsv", output=str(tmp_path / "out")))
    with pytest.raises(ConfigError, match="ftpx://nothing"):
        prepare(PrepareConfig(source="ftpx://nothing", output=str(tmp_path / "out")))
