"""Mutated input: whatever the bytes, preparing ends with a message or with an account that adds up."""

import gzip
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.config import PrepareConfig, SplitConfig
from data.errors import DataError
from data.preparing.prepare import prepare

CRITEO_LINE = "\t".join(["1", *["7"] * 12, "", *["0000000a"] * 25, ""]) + "\n"
CSV = "y,n,id,list,w\n" + '1,3.5,"a,b",1:0.5|2:1,x\n0,,c,,\n1,-2e3,,3:1,"y ""z"""\n' * 3
SPEC = """
format: {kind: %s}
label: y
dense: [{column: n, transforms: [log, standardise]}]
sparse:
  - {column: id, min_count: 1}
  - {column: list, type: integer, list: true, ids: ready, num_rows: 9, max_length: 4, %s}
"""
# Characters that mean something to one of the parsers.
CRUMBS = st.sampled_from(
    [
        *(
            b"",
            b"\n",
            b"\r",
            b"\r\n",
            b",",
            b"\t",
            b'"',
            b'""',
            b"|",
            b":",
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b" ",
            b"-",
        ),
        *(
            b"1" * 30,
            b"nan",
            b"inf",
            b"1e400",
            b"0x1F",
            b"\xed\xa0\x80",
            b"99",
            b"\x1f\x8b",
            b"\x28\xb5\x2f\xfd",
            b"PAR1",
        ),
    ]
)
MUTATIONS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), CRUMBS), min_size=1, max_size=6)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where the system has such a place: flushing files to disk would take most of the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Path(directory)


def mutated(data: bytes, mutations: list[tuple[float, int, bytes]]) -> bytes:
    """`data` with pieces of it replaced: (where, how many bytes go, what comes in their place)."""
    for place, num_bytes, crumb in mutations:
        at = int(place * len(data))
        data = data[:at] + crumb + data[at + num_bytes :]
    return data


def check_account(folder: Path, data: bytes, name: str, spec: str) -> str:
    """Prepare the bytes: "refused" where a message came, else "prepared", the account having added up."""
    (folder / name).write_bytes(data)
    spec_path = ""
    if spec:
        (folder / "spec.yaml").write_text(spec)
        spec_path = str(folder / "spec.yaml")
    config = PrepareConfig(
        source=str(folder / name),
        spec=spec_path,
        output=str(folder / "out"),
        max_bad_fraction=0.99,
        show_progress=False,
        force=True,
        num_threads=1,
        split=SplitConfig(val_fraction=0.2, test_fraction=0.2),
    )
    try:
        manifest = prepare(config)
    except DataError:
        return "refused"
    parts = [pq.read_table(folder / "out" / part.path) for split in manifest.splits.values() for part in split.parts]
    row_ids = np.concatenate([part["row_id"].to_numpy() for part in parts])
    assert len(row_ids) + sum(manifest.bad_lines.values()) == manifest.num_lines
    assert len(set(row_ids.tolist())) == len(row_ids) == sum(split.num_rows for split in manifest.splits.values())
    assert row_ids.max(initial=-1) < manifest.num_lines
    for part in parts:
        for feature in manifest.schema.sparse:
            ids = part[feature.name].combine_chunks()
            ids = ids.flatten() if feature.is_list else ids
            assert ((ids.to_numpy() >= 0) & (ids.to_numpy() < feature.num_embeddings)).all()
        for dense in manifest.schema.dense:
            assert np.isfinite(part[dense].to_numpy()).all()
    return "prepared"


def parquet_bytes() -> bytes:
    columns = {
        "y": [1, 0, 1] * 20,
        "n": [0.5, None, float("nan")] * 20,
        "id": ["a", None, "b"] * 20,
        "list": [[1, 2], [], None] * 20,
    }
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed, row_group_size=25)
    return packed.getvalue()


CASES = {
    "tsv": ((CRITEO_LINE * 9).encode(), "rows.tsv", ""),
    "gz": (gzip.compress((CRITEO_LINE * 9).encode(), mtime=0), "rows.tsv.gz", ""),
    "csv": (CSV.encode(), "rows.csv", SPEC % ("csv", 'weight_separator: ":"')),
    "zst": (
        pa.Codec("zstd").compress(CSV.encode(), asbytes=True),
        "rows.csv.zst",
        SPEC % ("csv", 'weight_separator: ":"'),
    ),
    "parquet": (parquet_bytes(), "rows.parquet", SPEC % ("parquet", "min_count: 2")),
}


def fuzz(folder: Path, num_examples: int) -> Counter[tuple[str, str]]:
    outcomes: Counter[tuple[str, str]] = Counter()

    @settings(
        max_examples=num_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(CASES)), MUTATIONS)
    def try_one(case: str, mutations: list[tuple[float, int, bytes]]) -> None:
        data, name, spec = CASES[case]
        outcomes[case, check_account(folder, mutated(data, mutations), name, spec)] += 1

    try_one()
    return outcomes


def test_unchanged_input_of_every_kind_is_prepared(folder: Path) -> None:
    for data, name, spec in CASES.values():
        assert check_account(folder, data, name, spec) == "prepared"


def test_mutated_input_ends_with_a_message_or_an_account_that_adds_up(folder: Path) -> None:
    outcomes = fuzz(folder, 300)
    # Both ends are met, so neither is taken for the other.
    assert {end for _, end in outcomes} == {"prepared", "refused"}
    assert {case for case, _ in outcomes} == set(CASES)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_inputs_end_well(folder: Path) -> None:
    assert sum(fuzz(folder, 10_000).values()) >= 10_000
