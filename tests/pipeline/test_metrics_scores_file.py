"""Files of scores that cannot be used: each refused in one message that says what was found and what to do."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from pipeline.evaluate_config import ColumnsConfig
from pipeline.metrics.scores_file import ScoresFile, is_scores_file

CSV = "row_id,label,score\n0,1,0.9\n1,0,0.25\n"


def read(path, **columns):
    return ScoresFile(path, ColumnsConfig(**columns)).read()


def torn_parquet(path):
    pq.write_table(pa.table({"label": [0, 1] * 5000, "score": np.random.default_rng(0).random(10_000)}), path)
    path.write_bytes(path.read_bytes()[:30_000])


def test_csv_plain_and_gzipped_and_parquet_hold_the_same_rows(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    pq.write_table(pa.table({"row_id": [0, 1], "label": [True, False], "score": [0.9, 0.25]}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.csv.gz", "a.parquet"):
        batch = read(tmp_path / name)
        assert (batch.scores.tolist(), batch.labels.tolist()) == ([0.9, 0.25], [1, 0])
        assert batch.row_ids is not None
        assert batch.row_ids.tolist() == [0, 1]
        assert is_scores_file(tmp_path / name)


def test_parquet_float32_scores_stay_float32(tmp_path):
    pq.write_table(pa.table({"label": [0], "score": np.array([0.1], np.float32)}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").scores.dtype == np.float32


TEXTS = {
    "missing column": ("id,label,prob\n0,1,0.5\n", "has no column 'score'; it has .*prob.*Say which one to take"),
    "no rows": ("row_id,label,score\n", "has no rows"),
    "torn line": (CSV + "2,1,0.", "ends in the middle of a line: it seems torn"),
    "short line": (CSV + "2,1\n3,0,0.5\n", "cannot be read: .*Expected 3 columns, got 2"),
    "word for a score": (CSV + "2,1,high\n", "cannot be read: .*high"),
    "broken row id": (CSV + "2.5,1,0.5\n", "cannot be read: .*2.5"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path, what):
    text, words = TEXTS[what]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "a.csv")


def test_empty_torn_and_absent_files_are_refused(tmp_path):
    (tmp_path / "empty.parquet").touch()
    torn_parquet(tmp_path / "torn.parquet")
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(CSV.encode() * 2000)[:-20])
    (tmp_path / "folder").mkdir()
    for name, words in {
        "empty.parquet": "is empty",
        "torn.parquet": "torn",
        "torn.csv.gz": "torn",
        "absent.parquet": "does not exist",
        "folder": "holds no scores",
    }.items():
        with pytest.raises(DataError, match=words):
            read(tmp_path / name)


def test_missing_scores_become_nan_and_missing_row_ids_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("row_id,label,score\n0,1,\n,0,0.5\n")
    with pytest.raises(DataError, match=r"'row_id' of .* holds 1 missing values"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("row_id,label,score\n0,1,\n1,0,0.5\n")
    assert np.isnan(read(tmp_path / "b.csv").scores[0])


def test_columns_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_text("clicked,p,hour\n1,0.5,13\n")
    batch = ScoresFile(tmp_path / "a.csv", ColumnsConfig(score="p", label="clicked")).read(["hour"])
    assert batch.others.to_pydict() == {"hour": [13]}
