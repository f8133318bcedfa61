"""Proposed specs: what is guessed of a table, and that the guess prepares the very table it was made from."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from data.config import GenerateConfig, PrepareConfig
from data.errors import DataError
from data.generating.generator import generate
from data.inspecting.propose import propose_spec
from data.inspecting.sample import take_sample
from data.preparing.prepare import prepare
from data.spec.load import spec_of


def proposed(path: Path, label: str = "") -> dict:
    text = propose_spec(take_sample(path, 5000), label)
    spec_of(yaml.safe_load(text))
    (path.parent / "spec.yaml").write_text(text)
    return yaml.safe_load(text)


def is_prepared(path: Path) -> bool:
    output = path.parent / "out"
    source, spec = str(path), str(path.parent / "spec.yaml")
    manifest = prepare(PrepareConfig(source=source, spec=spec, output=str(output), show_progress=False, force=True))
    return manifest.splits["train"].num_rows > 0 and not manifest.bad_lines


def test_ratings_are_understood(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["userId;price;genres;tags;session;timestamp;rating"]
    for i in range(400):
        genres = "|".join(rng.choice(["Drama", "Comedy", "War"], rng.integers(1, 3), replace=False))
        tags = f"t{rng.integers(5)}:0.5|t{rng.integers(5)}:1"
        price = "NA" if i % 9 == 0 else f"{rng.random():.3f}"
        lines.append(
            f"{rng.integers(50)};{price};{genres};{tags};s{i}x{rng.integers(9)};{1_600_000_000 + i};{rng.integers(1, 6)}"
        )
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    spec = proposed(path)
    assert spec["format"] == {"kind": "csv", "delimiter": ";", "quote": "", "missing": ["", "NA"]}
    assert spec["label"] == {"column": "rating", "positive_from": 3}
    assert spec["timestamp"] == {"column": "timestamp", "format": "seconds"}
    assert [each["column"] for each in spec["dense"]] == ["price"]
    by_name = {each["column"]: each for each in spec["sparse"]}
    assert by_name["userId"]["type"] == "integer"
    assert by_name["genres"] == {"column": "genres", "list": True, "min_count": 1}
    assert by_name["tags"]["weight_separator"] == ":"
    assert by_name["session"]["ids"] == "hash"
    assert is_prepared(path)


def test_criteo_text_is_understood_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv.gz"
    generate(GenerateConfig(output=str(path), num_rows=1000))
    spec = proposed(path)
    assert spec["format"]["header"] is False
    assert spec["label"] == {"column": "column_1"}
    assert {each.get("type") for each in spec["sparse"]} <= {"hex", "integer"}
    assert sum(each.get("type") == "hex" for each in spec["sparse"]) >= 24
    assert is_prepared(path)


def test_parquet_is_understood(tmp_path: Path) -> None:
    columns = {"click": [True, False] * 50, "tags": [["a", "b"], []] * 50, "age": [float(i) for i in range(100)]}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    spec = proposed(path)
    assert spec["format"] == "parquet"
    assert spec["sparse"] == [{"column": "tags", "list": True, "min_count": 1}]
    assert is_prepared(path)


@pytest.mark.parametrize(
    ("text", "label", "words"),
    [
        ("a,b\nx,y\n", "", "no column of 0 and 1"),
        ("a,b\nx,y\n", "c", "has no column 'c'; it has a, b"),
        ("a,b\n", "", "no rows to look at"),
        ("a,a\nx,y\n", "", "no column of 0 and 1"),
        (b"\xff\xfe\x00a", "", "not UTF-8"),
    ],
)
def test_table_that_cannot_be_understood_is_refused(tmp_path: Path, text, label, words) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=words):
        proposed(path, label)
