from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.manifest import Manifest, Part, Split, sha256_of_file
from data.schema import Schema, SparseFeature

NUM_EMBEDDINGS = 97
GROUP_ROWS = 64


def rows_table(start: int, num_rows: int) -> pa.Table:
    """Rows whose every value follows from the row id, so that a test can tell where a value came from."""
    row_ids = np.arange(start, start + num_rows, dtype=np.int64)
    columns = {
        "row_id": row_ids,
        "label": (row_ids % 3 == 0).astype(np.int8),
        "I1": row_ids.astype(np.float32),
        "I2": -row_ids.astype(np.float32),
        "C1": (row_ids % NUM_EMBEDDINGS).astype(np.int32),
        "C2": (row_ids * 7 % NUM_EMBEDDINGS).astype(np.int32),
        "C3": (row_ids * 11 % NUM_EMBEDDINGS).astype(np.int32),
        "true_probability": row_ids / (row_ids + 1.0),
    }
    return pa.table(columns)


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a prepared dataset with these numbers of rows, in parts of 1,000 rows and row groups of 64."""

    def write(num_train: int, num_val: int = 0, table: Callable[[int, int], pa.Table] = rows_table) -> Path:
        splits = {}
        for name, first, num_rows in (("train", 0, num_train), ("val", num_train, num_val)):
            (tmp_path / name).mkdir()
            parts = []
            for start in range(0, num_rows, 1000):
                path = tmp_path / name / f"part-{start // 1000:05d}.parquet"
                rows = table(first + start, min(1000, num_rows - start))
                pq.write_table(rows, path, row_group_size=GROUP_ROWS, write_page_checksum=True, compression="none")
                part = Part(path=f"{name}/{path.name}", num_rows=len(rows), sha256=sha256_of_file(path))
                parts.append(part)
            splits[name] = Split(num_rows=num_rows, num_positives=0, parts=tuple(parts))
        manifest(splits).save(tmp_path)
        return tmp_path

    return write


def manifest(splits: dict[str, Split]) -> Manifest:
    sparse = tuple(SparseFeature(name=name, num_embeddings=NUM_EMBEDDINGS) for name in ("C1", "C2", "C3"))
    return Manifest(
        schema=Schema(dense=("I1", "I2"), sparse=sparse),
        splits=splits,
        sparse_statistics={},
        dense_statistics={},
        num_lines=sum(split.num_rows for split in splits.values()),
        row_group_rows=GROUP_ROWS,
        settings={},
        origin=(),
        fingerprint="0" * 64,
    )
