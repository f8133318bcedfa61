"""Bundles: raw rows in, the checkpoint's probabilities out, through the command line."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data.errors import DataError
from data.manifest import Manifest
from pipeline.cli import main
from pipeline.inference.bundle import open_bundle
from pipeline.inference.opened import open_model
from pipeline.inference.scoring import scorer_of_bundle
from pipeline.inference.self_check import Checked, check_bundle
from tests.pipeline.awkward_rows import SPEC, awkward_criteo, awkward_table
from tests.pipeline.job_runs import tiny_settings

TOLERANCE = 1e-6
PROGRAMS = ["--formats=[exported,torchscript]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """rows.tsv with missing, rare, unknown and malformed fields; `prepared`, a run on its train rows, a bundle of it."""
    directory = tmp_path_factory.mktemp("bundles")
    awkward_criteo(directory / "rows.tsv", num_rows=13_000)
    split = ["--split.test_fraction=0.79", "--split.val_fraction=0.01", "--max_bad_fraction=0.05"]
    prepare = ["prepare", f"--source={directory / 'rows.tsv'}", f"--output={directory / 'prepared'}"]
    assert main([*prepare, *split, "--show_progress=false"]) == 0
    train = ["train", *tiny_settings(directory / "prepared", directory, "run"), "--training.num_epochs=3"]
    assert main([*train, "--model.standardise_dense=true"]) == 0
    assert main(["export", str(directory / "run"), f"--output={directory / 'bundle'}", *PROGRAMS]) == 0
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def predicted(model: Path, source: Path, output: Path, *settings: str) -> pa.Table:
    """The predictions of the job, by row id."""
    arguments = ["predict", str(model), str(source), f"--output={output}", "--max_bad_fraction=0.05", *settings]
    assert main(arguments) == 0
    return pq.read_table(output).sort_by("row_id")


def largest_difference(predictions: pa.Table, scores: pa.Table) -> float:
    """Between predictions of all rows and scores of some of them, joined by row id."""
    places = np.searchsorted(predictions["row_id"].to_numpy(), scores["row_id"].to_numpy())
    found = predictions.take(pa.array(places))
    assert found["row_id"].equals(scores["row_id"])
    return float(np.abs(found["score"].to_numpy() - scores["score"].to_numpy()).max())


def test_raw_rows_through_the_bundle_score_as_prepared_rows_through_the_checkpoint(folder: Path, tmp_path: Path):
    manifest = Manifest.load(folder / "prepared")
    scores = pq.read_table(folder / "run" / "scores" / "test")
    raw = predicted(folder / "bundle", folder / "rows.tsv", tmp_path / "raw")
    assert scores.num_rows >= 10_000
    assert np.std(scores["score"].to_numpy()) > 0.01
    assert largest_difference(raw, scores) <= TOLERANCE
    # Every kind of field was met: missing ones, ids unknown to the train rows, rare ones, and lines beyond repair.
    assert sum(manifest.bad_lines.values()) > 100
    assert set(manifest.bad_lines) >= {"bad hex", "bad label", "bad integer", "wrong number of fields"}
    assert max(each.unmapped_rate - each.missing_rate for each in manifest.sparse_statistics.values()) > 0.1
    about = json.loads((tmp_path / "raw" / "_predictions.json").read_text())
    assert about["bad_lines"] == manifest.bad_lines


def test_columns_of_any_spec_score_in_the_bundle_as_in_the_checkpoint(tmp_path: Path):
    awkward_table(tmp_path / "rows.csv", num_rows=3000)
    (tmp_path / "spec.yaml").write_text(SPEC)
    prepare = ["prepare", f"--source={tmp_path / 'rows.csv'}", f"--spec={tmp_path / 'spec.yaml'}"]
    settings = ["--max_bad_fraction=0.05", "--show_progress=false", "--split.test_fraction=0.5"]
    assert main([*prepare, f"--output={tmp_path / 'prepared'}", *settings]) == 0
    train = ["train", *tiny_settings(tmp_path / "prepared", tmp_path, "run"), "--training.num_epochs=3"]
    assert main(train) == 0
    assert main(["export", str(tmp_path / "run"), f"--output={tmp_path / 'bundle'}", "--formats=[exported]"]) == 0
    scores = pq.read_table(tmp_path / "run" / "scores" / "test")
    raw = predicted(tmp_path / "bundle", tmp_path / "rows.csv", tmp_path / "raw", "--runtime=exported")
    assert np.std(scores["score"].to_numpy()) > 0.001
    assert largest_difference(raw, scores) <= TOLERANCE


def test_every_program_scores_batches_of_any_size_like_the_model(folder: Path):
    bundle = open_bundle(folder / "bundle")
    table = pq.read_table(folder / "prepared" / "test" / "part-00000.parquet").slice(0, 40)
    expected = scorer_of_bundle(bundle).score_table(table)
    for runtime in ("exported", "torchscript"):
        assert bundle.formats[runtime] is None
        scorer = scorer_of_bundle(bundle, runtime)
        for rows in (1, 2, 7, 40):
            found = replace(scorer, batch_rows=rows).score_table(table)
            np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.full
def test_a_compiled_program_scores_like_the_model(folder: Path, tmp_path: Path):
    assert main(["export", str(folder / "run"), f"--output={tmp_path / 'bundle'}", "--formats=[aoti]"]) == 0
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.formats == {"aoti": None}
    table = pq.read_table(folder / "prepared" / "test" / "part-00000.parquet").slice(0, 33)
    expected = scorer_of_bundle(bundle).score_table(table)
    scorer = scorer_of_bundle(bundle, "aoti")
    for rows in (1, 5, 33):
        found = replace(scorer, batch_rows=rows).score_table(table)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_a_bundle_is_read_without_unpickling_code_and_signed_to_the_byte(folder: Path):
    signature = open_bundle(folder / "bundle").signature
    weights = torch.load(folder / "bundle" / "weights.pt", weights_only=True)
    assert weights["ebc.embedding_bags.C1.weight"].dtype == torch.float32
    assert signature["origin"]["data"] == Manifest.load(folder / "prepared").fingerprint
    assert [each["column"] for each in signature["raw_rows"][:2]] == ["I1", "I2"]
    assert {"weights.pt", "transforms.json", "id_maps/C26.parquet", "model.pt2"} <= set(signature["files"])
    assert signature["self_check"]["rows"] == 1000
    assert max(signature["self_check"]["largest_differences"].values()) <= TOLERANCE


def test_a_bundle_that_was_altered_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(folder / "bundle", tmp_path / "bundle")
    altered = tmp_path / "bundle" / "id_maps" / "C3.parquet"
    altered.write_bytes(altered.read_bytes()[:-1] + b"?")
    assert main(["predict", str(tmp_path / "bundle"), str(folder / "rows.tsv"), f"--output={tmp_path / 'p'}"]) == 2
    assert "C3.parquet is missing or not as it was written" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_the_self_check_refuses_scores_that_are_not_the_checkpoints(folder: Path):
    table = pq.read_table(folder / "prepared" / "test" / "part-00000.parquet").slice(0, 50)
    scores = scorer_of_bundle(open_bundle(folder / "bundle")).score_table(table)
    assert check_bundle(folder / "bundle", {"torchscript": None}, Checked("test", table, scores))["rows"] == 50
    scores[7] += 2e-6
    with pytest.raises(DataError, match="self-check failed"):
        check_bundle(folder / "bundle", {}, Checked("test", table, scores))


def test_export_refuses_data_that_the_run_was_not_trained_on(
    folder: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["export", str(folder / "run"), f"--output={tmp_path / 'bundle'}", f"--data_path={prepared}"]
    assert main(arguments) == 2
    assert "id maps would give ids other rows" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_no_bundle_is_never_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("long")
    assert main(["export", str(folder / "run"), f"--output={tmp_path / 'mine'}", "--force=true"]) == 2
    assert "is no bundle" in capsys.readouterr().err
    assert main(["export", str(folder / "run"), f"--output={folder / 'bundle'}"]) == 2
    assert "holds a bundle already" in capsys.readouterr().err


def test_rows_without_labels_score_as_with_them(folder: Path, tmp_path: Path):
    with_labels = predicted(folder / "bundle", folder / "rows.tsv", tmp_path / "with")
    lines = (folder / "rows.tsv").read_bytes().split(b"\n")
    (tmp_path / "rows.tsv").write_bytes(b"\n".join(line.partition(b"\t")[2] for line in lines))
    without = predicted(folder / "bundle", tmp_path / "rows.tsv", tmp_path / "without", "--has_labels=false")
    assert without.column_names == ["row_id", "score"]
    assert without.num_rows >= with_labels.num_rows  # a bad label spoils no row now
    assert largest_difference(without, with_labels) <= TOLERANCE


@pytest.mark.full
def test_a_checkpoint_predicts_like_its_bundle_and_on_several_processes_alike(folder: Path, tmp_path: Path):
    alone = predicted(folder / "bundle", folder / "rows.tsv", tmp_path / "alone", "--block_mib=1")
    several = predicted(folder / "run", folder / "rows.tsv", tmp_path / "several", "--block_mib=1", "--processes=2")
    assert len(list((tmp_path / "several").glob("part-*.parquet"))) > 2
    assert several.equals(alone)


def test_finished_parts_are_kept_and_not_scored_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [
        "predict",
        str(folder / "bundle"),
        str(folder / "rows.tsv"),
        f"--output={tmp_path / 'p'}",
        "--block_mib=1",
    ]
    assert main(arguments) == 2
    assert "accepted is a fraction of 0" in capsys.readouterr().err
    waiting = tmp_path / "p.partial"
    before = {path.name: path.stat().st_mtime_ns for path in waiting.glob("part-*.parquet")}
    assert len(before) > 2
    assert not (tmp_path / "p").exists()
    (waiting / "part-00001.parquet").write_bytes(b"PAR1 torn")
    assert main([*arguments, "--max_bad_fraction=0.05"]) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "p").glob("part-*.parquet")}
    assert [name for name in sorted(after) if after[name] != before[name]] == ["part-00001.parquet"]
    assert main([*arguments, "--max_bad_fraction=0.05"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_predictions_of_a_prepared_split_are_its_scores_and_can_be_evaluated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = predicted(folder / "bundle", folder / "prepared", tmp_path / "p", "--runtime=torchscript")
    scores = pq.read_table(folder / "run" / "scores" / "test").sort_by("row_id")
    assert largest_difference(found, scores) <= TOLERANCE
    assert main(["compare-runs", str(folder / "run"), str(tmp_path / "p")]) == 0
    assert main(["evaluate", str(tmp_path / "p")]) == 0
    assert f"{scores.num_rows:,}" in capsys.readouterr().out


def test_prepared_rows_of_other_id_maps_are_not_scored(
    folder: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["predict", str(folder / "bundle"), str(prepared), f"--output={tmp_path / 'p'}"]) == 2
    assert "Score its raw files instead" in capsys.readouterr().err


def test_a_program_that_a_bundle_lacks_is_named_with_those_it_has(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["predict", str(folder / "bundle"), str(folder / "prepared"), f"--output={tmp_path / 'p'}"]
    assert main([*arguments, "--runtime=aoti"]) == 2
    assert "It has eager, exported, torchscript" in capsys.readouterr().err


def test_transforms_read_back_are_those_that_were_fitted(folder: Path):
    trained, bundled = open_model(folder / "run").parts.fitted, open_model(folder / "bundle").parts.fitted
    ids = np.arange(2**16, dtype=np.uint32)
    for name, lookup in trained.lookups.items():
        rows = [each.rows(ids, ids % 7 == 0) for each in (lookup, bundled.lookups[name])]
        assert np.array_equal(*rows)
    assert trained.spec == bundled.spec
