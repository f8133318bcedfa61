"""The verify job finds every kind of damage, names the file and the row group, and tells it by its exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.config import GenerateConfig, PrepareConfig
from data.generating.generator import generate
from data.preparing.prepare import prepare
from pipeline.cli import main

PART = "train/part-00001.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    generate(GenerateConfig(output=str(folder / "rows.tsv"), num_rows=5_000))
    small = {"row_group_rows": 256, "rows_per_part": 1024, "show_progress": False}
    prepare(PrepareConfig(source=str(folder / "rows.tsv"), output=str(folder / "sound"), **small))
    return folder / "sound"


@pytest.fixture
def dataset(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "dataset"))


def found(dataset: Path, capsys) -> str:
    """The one line that the job says about damage."""
    assert main(["verify", str(dataset), "--show_progress", "false"]) == 1
    answer = capsys.readouterr()
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    return answer.err


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], group_rows: int = 256) -> None:
    """The part with changed rows, as this project writes parts: what a checksum of pages cannot find."""
    options = {"compression": "lz4", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    pq.write_table(change(pq.read_table(path)), path, row_group_size=group_rows, store_schema=False, **options)


def with_value(name: str, row: int, value: float) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        is_row = pa.array([index == row for index in range(table.num_rows)])
        column = pc.if_else(is_row, pa.scalar(value, table.schema.field(name).type), table[name])  # pyright: ignore
        return table.set_column(table.schema.names.index(name), name, column)

    return change


def test_whole_dataset_is_told_with_its_numbers(sound, capsys):
    assert main(["verify", str(sound)]) == 0
    assert "whole. 6 parts, 20 row groups, 5,000 rows" in capsys.readouterr().out


def test_every_flipped_byte_is_found(dataset, capsys):
    whole = (dataset / PART).read_bytes()
    for place in range(4, len(whole), len(whole) // 9):
        (dataset / PART).write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert f"{PART}" in found(dataset, capsys), place


def test_flipped_byte_in_a_page_names_its_row_group(dataset, capsys):
    file = pq.ParquetFile(dataset / PART)
    place = file.metadata.row_group(2).column(20).data_page_offset + 60
    file.close()
    whole = bytearray((dataset / PART).read_bytes())
    whole[place] ^= 1
    (dataset / PART).write_bytes(whole)
    assert f"Row group 2 of {dataset / PART} cannot be read" in found(dataset, capsys)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_value("C1", 700, 10**6), "Id 1000000 of feature 'C1' is outside its table"),
        (with_value("label", 700, 2), "A label in row group 2 of"),
        (with_value("row_id", 700, 0), "The row ids in row group 2 of"),
        (with_value("row_id", 1023, 10**9), "Row id 1000000000 in row group 3 of"),
        (with_value("I3", 700, float("nan")), "Feature 'I3' in row group 2 of"),
        (with_value("I3", 700, 0.125), "in bytes that are no row group's"),
        (lambda table: table.drop_columns(["C5"]), "has no column 'C5'"),
        (lambda table: table.slice(0, 1000), "holds 1000 rows, the manifest says 1024"),
    ],
)
def test_rewritten_part_is_found_whatever_was_changed(dataset, capsys, change, words):
    rewrite(dataset / PART, change)
    message = found(dataset, capsys)
    assert words in message
    assert PART in message


def test_other_row_groups_a_missing_part_and_a_stranger_are_found(dataset, capsys):
    shutil.copy(dataset / PART, dataset / "train/part-00009.parquet")
    assert "part-00009.parquet is no part that the manifest lists" in found(dataset, capsys)
    rewrite(dataset / PART, lambda table: table, group_rows=512)
    assert "has row groups of [512] rows, expected 256" in found(dataset, capsys)
    (dataset / PART).unlink()
    assert f"{PART} is missing" in found(dataset, capsys)


def test_manifest_that_does_not_fit_its_parts_is_found(dataset, capsys):
    text = (dataset / "manifest.json").read_text()
    manifest = json.loads(text)
    manifest["splits"]["val"]["num_positives"] += 1
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    assert "rows of split val are positive, the manifest says" in found(dataset, capsys)
    manifest = json.loads(text)
    manifest["schema"]["sparse"][0]["num_embeddings"] += 1
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    assert "C1.parquet maps" in found(dataset, capsys)


def test_directory_that_is_no_dataset_is_the_users_mistake(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err
