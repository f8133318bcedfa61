"""A file of scores judged: slices, groups, joined columns, what the job prints and writes."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from data.errors import DataError
from data.reading.reader import read_columns
from pipeline.cli import main
from pipeline.evaluate_config import CompareRunsConfig, ScoresConfig
from pipeline.evaluating.judging import judge_scores
from pipeline.jobs import compare_runs, evaluate_scores
from pipeline.metrics.slices import frequency_codes, grouped_auc

NUM_ROWS = 6000


def columns() -> dict:
    rng = np.random.default_rng(3)
    labels = rng.random(NUM_ROWS) < 0.3
    logits = labels + rng.standard_normal(NUM_ROWS) - 1
    return {
        "row_id": np.arange(NUM_ROWS),
        "label": labels.astype(np.int8),
        "score": (1 / (1 + np.exp(-logits))).astype(np.float32),
        "day": rng.integers(0, 12, NUM_ROWS),
        "site": np.array(["b", "a", None], object)[rng.integers(0, 3, NUM_ROWS)],
        "user": rng.integers(0, 200, NUM_ROWS),
    }


@pytest.fixture
def scores_path(tmp_path):
    pq.write_table(pa.table(columns()), tmp_path / "run.parquet")
    return tmp_path / "run.parquet"


def test_each_slice_has_the_auc_of_its_own_rows(scores_path):
    judged = judge_scores(scores_path, ScoresConfig(slices=("day", "site")))
    table = columns()
    assert [item.value for item in judged.slices["day"]] == [str(day) for day in range(12)]
    for item in judged.slices["day"]:
        rows = table["day"] == int(item.value)
        assert item.evaluation.auc == pytest.approx(
            roc_auc_score(table["label"][rows], table["score"][rows]), abs=1e-12
        )
    assert [item.value for item in judged.slices["site"]] == ["a", "b", "missing"]
    assert sum(item.evaluation.num_rows for item in judged.slices["site"]) == NUM_ROWS


def test_rare_values_are_pooled_into_one_slice(scores_path):
    slices = judge_scores(scores_path, ScoresConfig(slices=("user",), max_slices=3)).slices["user"]
    counts = np.sort(np.bincount(columns()["user"]))[::-1]
    assert sorted((item.evaluation.num_rows for item in slices[:3]), reverse=True) == counts[:3].tolist()
    assert (slices[3].value, slices[3].evaluation.num_rows) == ("all others", NUM_ROWS - counts[:3].sum())


def test_frequency_buckets_count_occurrences_elsewhere():
    seen = np.repeat([7, 8, 9], [1, 12, 150])
    names, codes = frequency_codes(np.array([9, 7, 5, 8]), seen)
    assert [names[code] for code in codes] == ["100 to 999 times", "1 to 9 times", "never", "10 to 99 times"]


def test_grouped_auc_equals_the_mean_over_users_computed_one_by_one(scores_path):
    table = columns()
    expected, weights = [], []
    for user in range(200):
        rows = table["user"] == user
        if rows.any() and 0 < table["label"][rows].mean() < 1:
            expected.append(roc_auc_score(table["label"][rows], table["score"][rows]))
            weights.append(rows.sum())
    judged = judge_scores(scores_path, ScoresConfig(group_by="user"))
    assert judged.grouped is not None
    assert judged.grouped.auc == pytest.approx(np.average(expected, weights=weights), abs=1e-12)
    assert judged.grouped.num_groups == len(expected)


def test_grouped_auc_worked_by_hand():
    # Group 0: pairs (.8, .2) won, (.8, .8) tied: .75 over 3 rows. Group 1: lost, 0 over 2 rows. Group 2: one label only.
    grouped = grouped_auc(
        np.array([0, 0, 0, 1, 1, 2]), np.array([0.8, 0.2, 0.8, 0.1, 0.5, 0.5]), np.array([1, 0, 0, 1, 0, 1])
    )
    assert grouped.auc == pytest.approx(0.75 * 3 / 5)
    assert (grouped.num_groups, grouped.num_one_class_groups) == (2, 1)
    assert grouped.share_of_rows == pytest.approx(5 / 6)


def test_an_unknown_slice_column_is_refused_with_the_known_names(scores_path):
    with pytest.raises(DataError, match="has no column 'dya'; it has day"):
        judge_scores(scores_path, ScoresConfig(slices=("dya",)))


def test_the_job_writes_metrics_and_a_report_with_every_plot(scores_path, tmp_path, capsys):
    config = ScoresConfig(slices=("site",), group_by="user")
    assert evaluate_scores.run_on_file(str(scores_path), config, str(tmp_path / "out")) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    table = columns()
    assert metrics["auc"] == pytest.approx(roc_auc_score(table["label"], table["score"]), abs=1e-12)
    assert metrics["slice/site/a/num_samples"] == np.count_nonzero(table["site"] == "a")
    page = (tmp_path / "out" / "report.html").read_text()
    for figure in ("roc", "precision-recall", "reliability", "scores", "slices"):
        assert f"{figure}-run-parquet" in page
    printed = capsys.readouterr().out
    assert f"{metrics['auc']:.5f}" in printed
    assert "site = missing" in printed


def test_one_class_only_is_said_and_ends_well(tmp_path, capsys, caplog):
    pq.write_table(pa.table({"label": [0, 0, 0], "score": [0.1, 0.2, 0.2]}), tmp_path / "zeros.parquet")
    assert evaluate_scores.run_on_file(str(tmp_path / "zeros.parquet"), ScoresConfig(), str(tmp_path / "out")) == 0
    assert "all rows have one label, so AUC and NE are undefined" in caplog.text
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert math.isnan(metrics["auc"])
    assert metrics["logloss"] == pytest.approx(-(math.log(0.9) + 2 * math.log(0.8)) / 3, rel=1e-6)


def test_compare_runs_prints_the_verdict_and_writes_its_report(scores_path, tmp_path, capsys):
    table = columns()
    noise = np.random.default_rng(4).uniform(0.3, 1, NUM_ROWS).astype(np.float32)
    pq.write_table(pa.table(table | {"score": table["score"] * noise}), tmp_path / "noisy.parquet")
    config = CompareRunsConfig(runs=(str(scores_path), str(tmp_path / "noisy.parquet")), out=str(tmp_path / "out"))
    assert compare_runs.run(config) == 0
    assert "run.parquet is better than noisy.parquet on these 6,000 rows" in capsys.readouterr().out
    assert "differences" in (tmp_path / "out" / "comparison.html").read_text()
    metrics = json.loads((tmp_path / "out" / "comparison_metrics.json").read_text())
    assert metrics["noisy.parquet - run.parquet/auc_high"] < 0


def test_columns_of_prepared_data_are_joined_by_row_id(prepared, tmp_path):
    test = read_columns(prepared, "test", ["row_id", "label", "C1"])
    order = np.random.default_rng(6).permutation(test.num_rows)
    shuffled = test.take(order).append_column("score", pa.array(np.random.default_rng(7).random(test.num_rows)))
    pq.write_table(shuffled.select(["row_id", "label", "score"]), tmp_path / "scores.parquet")
    judged = judge_scores(tmp_path / "scores.parquet", ScoresConfig(slices=("C1",), data_path=str(prepared)))
    counts = np.bincount(test.column("C1").to_numpy())
    by_value = {item.value: item.evaluation.num_rows for item in judged.slices["C1"]}
    assert by_value["0"] == counts[0]
    assert sum(by_value.values()) == test.num_rows
    with pytest.raises(DataError, match=r"rows of .* are not in the val split of"):
        judge_scores(
            tmp_path / "scores.parquet", ScoresConfig(slices=("C1",), data_path=str(prepared), data_split="val")
        )


def test_frequency_of_joined_ids_is_counted_in_the_train_split(prepared, tmp_path):
    test = read_columns(prepared, "test", ["row_id", "label", "C1"])
    table = test.append_column("score", pa.array(np.random.default_rng(7).random(test.num_rows)))
    pq.write_table(table.select(["row_id", "label", "score"]), tmp_path / "scores.parquet")
    config = ScoresConfig(slices=("C1:frequency",), data_path=str(prepared))
    found = judge_scores(tmp_path / "scores.parquet", config).slices["C1:frequency"]
    slices = {item.value: item.evaluation.num_rows for item in found}
    times = np.bincount(read_columns(prepared, "train", ["C1"]).column("C1").to_numpy(), minlength=10**6)
    ids = test.column("C1").to_numpy()
    seen = np.where(ids == 0, -1, times[ids])
    assert slices["row 0 (missing or rare)"] == np.count_nonzero(ids == 0) > 0
    assert slices.get("1 to 9 times", 0) == np.count_nonzero((seen >= 1) & (seen < 10))
    assert slices.get("100 to 999 times", 0) == np.count_nonzero((seen >= 100) & (seen < 1000))


def test_the_command_line_evaluates_and_compares_files(scores_path, tmp_path, capsys):
    assert main(["evaluate", str(scores_path), f"--out={tmp_path / 'out'}", '--scores.slices=["site"]']) == 0
    assert "site = missing" in capsys.readouterr().out
    assert main(["compare-runs", str(scores_path), str(scores_path)]) == 0
    assert "no difference at all" in capsys.readouterr().out


def test_files_that_cannot_be_used_end_with_one_message_and_code_2(scores_path, tmp_path, capsys):
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(scores_path.read_bytes()[:20_000])
    nan = tmp_path / "nan.parquet"
    pq.write_table(pa.table({"label": [0, 1], "score": [0.5, math.nan]}), nan)
    for arguments, words in (
        (["evaluate", str(torn)], "torn"),
        (["evaluate", str(tmp_path / "absent.csv")], "does not exist"),
        (["evaluate", str(nan)], "1 x NaN score (the first: nan at row 1)"),
        (["compare-runs", str(scores_path), str(nan)], "NaN score"),
        (["compare-runs", str(scores_path)], "at least two"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
