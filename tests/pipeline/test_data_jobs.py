import json

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from data.config import GenerateConfig, PrepareConfig
from pipeline.jobs import generate, prepare


def test_generate_saves_the_best_possible_auc_and_log_loss(tmp_path, capsys):
    assert generate.run(GenerateConfig(output=str(tmp_path / "rows.tsv.gz"), num_rows=5000)) == 0
    saved = json.loads((tmp_path / "rows.json").read_text())
    truth = pq.read_table(tmp_path / "rows.truth.parquet")
    labels, probabilities = truth["label"].to_numpy(), truth["probability"].to_numpy()
    assert saved["best"]["auc"] == pytest.approx(roc_auc_score(labels, probabilities))
    assert saved["best"]["logloss"] == pytest.approx(log_loss(labels, probabilities))
    assert saved["settings"]["num_rows"] == 5000
    assert f"best possible AUC {saved['best']['auc']:.4f}" in capsys.readouterr().out


def test_generated_days_have_one_summary_over_all_days(tmp_path):
    generate.run(GenerateConfig(output=str(tmp_path / "days"), num_rows=1000, num_days=3))
    assert json.loads((tmp_path / "days/summary.json").read_text())["best"]["num_samples"] == 1000


def test_prepare_prints_what_it_made(tmp_path, capsys):
    generate.run(GenerateConfig(output=str(tmp_path / "rows.tsv"), num_rows=1000))
    (tmp_path / "rows.tsv").open("ab").write(b"oops\n")
    (tmp_path / "rows.truth.parquet").unlink()
    config = PrepareConfig(
        source=str(tmp_path / "rows.tsv"), output=str(tmp_path / "out"), max_bad_fraction=0.01, show_progress=False
    )
    assert prepare.run(config) == 0
    printed = capsys.readouterr().out
    assert "1,001 lines read, 1 bad (1 x wrong number of fields)" in printed
    assert "13 dense columns, 26 tables" in printed
