"""Files of scores joined and compared: verdicts on small runs, and refusals that say what is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from pipeline.metrics.comparison import compare_runs

NUM_ROWS = 4000


def write(path, columns: dict, num_parts: int = 1):
    """A scores file, or a directory of `num_parts` parts where the path has no ending."""
    table = pa.table(columns)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    elif path.suffix:
        pq.write_table(table, path)
    else:
        path.mkdir(parents=True)
        for part in range(num_parts):
            rows = range(part, table.num_rows, num_parts)
            pq.write_table(table.take(list(rows)), path / f"part-{part:05d}.parquet")
    return path


def columns_of(noise: float, seed: int = 0, **changes) -> dict:
    rng = np.random.default_rng(1)
    labels = (rng.random(NUM_ROWS) < 0.3).astype(np.float32)
    signal = labels + rng.standard_normal(NUM_ROWS)
    logits = signal + noise * np.random.default_rng(seed).standard_normal(NUM_ROWS)
    scores = (1 / (1 + np.exp(1 - logits))).astype(np.float32)
    return {"row_id": np.arange(NUM_ROWS) * 2, "label": labels, "score": scores, **changes}


def test_a_better_run_is_named_whatever_the_order_and_form_of_its_rows(tmp_path):
    worse = columns_of(1.0)
    order = np.random.default_rng(2).permutation(NUM_ROWS)
    a = write(tmp_path / "noisy.csv", {name: column[order] for name, column in worse.items()})
    b = write(tmp_path / "clean" / "scores" / "test", columns_of(0.0), num_parts=3)
    comparison = compare_runs([a, tmp_path / "clean"]).comparisons[0]
    assert comparison.is_distinguishable
    assert comparison.verdict().startswith(
        f"clean is better than noisy.csv on these {NUM_ROWS:,} rows: the difference 0."
    )
    assert compare_runs([b, a]).comparisons[0].auc.value == -comparison.auc.value
    assert comparison.logloss.value < 0


def test_equally_good_runs_are_not_told_apart_and_the_rows_needed_are_named(tmp_path):
    paths = [write(tmp_path / f"{seed}.parquet", columns_of(0.3, seed)) for seed in (1, 2)]
    comparison = compare_runs(paths).comparisons[0]
    assert not comparison.is_distinguishable
    words = comparison.verdict()
    assert "1.parquet and 2.parquet are not distinguishable on these 4,000 rows: the difference " in words
    assert f"about {comparison.rows_needed:,.0f} rows would be needed" in words
    assert comparison.auc.low < 0 < comparison.auc.high


def test_identical_scores_are_called_so(tmp_path):
    paths = [write(tmp_path / f"{name}.parquet", columns_of(0.3)) for name in "ab"]
    assert compare_runs(paths).comparisons[0].verdict().endswith("rank these 4,000 rows alike: no difference at all.")


def test_many_comparisons_are_corrected(tmp_path):
    paths = [write(tmp_path / f"{seed}.parquet", columns_of(0.3, seed)) for seed in range(4)]
    to_first = compare_runs(paths).comparisons
    assert [(item.first, item.num_comparisons) for item in to_first] == [("0.parquet", 3)] * 3
    assert min(item.p_corrected for item in to_first) == min(1, 3 * min(item.auc.p_value for item in to_first))
    assert len(compare_runs(paths, all_pairs=True).comparisons) == 6


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths = [
        write(tmp_path / name / "scores.parquet", columns_of(0.3)) for name in "ab" if not (tmp_path / name).mkdir()
    ]
    assert [run.name for run in compare_runs(paths).runs] == ["a/scores.parquet", "b/scores.parquet"]


REFUSED = {
    "row ids": (
        {"row_id": np.arange(NUM_ROWS) * 2 + 100},
        "50 rows are in a.parquet only, 50 in b.parquet only, 3,950 in both; row 0 is in a.parquet only",
    ),
    "a copy": ({"row_id": np.maximum(np.arange(NUM_ROWS) * 2, 8)}, "b.parquet has 4 rows too many: row id 8 comes"),
    "labels": (
        {"label": np.where(np.arange(NUM_ROWS) < 20, 1, columns_of(0)["label"])},
        "disagree on the label of .. of 4,000 rows; the first is row",
    ),
    "weights": (
        {"weight": np.where(np.arange(NUM_ROWS) == 7, 2.0, 1.0)},
        "the weight of 1 of 4,000 rows; .* row 14: 1 and 2",
    ),
    "scores": ({"score": np.full(NUM_ROWS, 1.5)}, r"4,000 x score outside \[0, 1\] \(the first: 1.5 at row 0\)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_runs_that_scored_other_rows_are_refused_with_counts(tmp_path, what):
    changes, words = REFUSED[what]
    a = write(tmp_path / "a.parquet", columns_of(0.3))
    b = write(tmp_path / "b.parquet", columns_of(0.3, **changes))
    with pytest.raises(DataError, match=words):
        compare_runs([a, b])


def test_files_without_row_ids_are_joined_by_place_if_equally_long(tmp_path):
    def without_ids(rows: int) -> dict:
        return {name: column[:rows] for name, column in columns_of(0.3).items() if name != "row_id"}

    a, b = write(tmp_path / "a.parquet", without_ids(4000)), write(tmp_path / "b.parquet", without_ids(3999))
    assert compare_runs([a, a]).comparisons[0].num_rows == 4000
    with pytest.raises(DataError, match=r"a\.parquet has 4,000 rows and b\.parquet 3,999"):
        compare_runs([a, b])
