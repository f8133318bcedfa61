"""Fewer bits: quantized bundles agree with the checkpoint within bounds, and what they cost is told with intervals."""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data.reading.flat_rows import flat_rows
from data.reading.stored_split import StoredSplit
from pipeline.cli import main
from pipeline.inference.bundle import open_bundle
from pipeline.inference.opened import open_model
from pipeline.inference.quality import Quality, judge_models
from pipeline.inference.quantizing import quantized, search
from pipeline.inference.scoring import scorer_of_bundle, scorer_of_parts
from pipeline.inference.tables import float_rows, float_tables, quantized_rows, row_bytes
from pipeline.inference.work import stored_rows
from pipeline.metrics.paired import Difference
from pipeline.metrics.summary import evaluate_arrays
from tests.pipeline.job_runs import REPOSITORY, tiny_settings

SAMPLE = REPOSITORY.parent / "shared" / "data" / "criteo_kaggle_sample.tsv.gz"
KEPT = {"C1*": "fp32", "C2*": "fp32", "C5": "fp32"}
"""Tables that the search leaves alone, which keeps it short."""
BOUNDS = {"fp16": 1e-3, "int8": 1e-2, "int4": 2e-1}
"""Most that one row's probability may move; the mean moves by at most a tenth of it."""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `run`, trained on 8,000 of 20,000 generated rows, and its `prepared` data; 10,000 rows are the test."""
    directory = tmp_path_factory.mktemp("generated")
    raw = directory / "rows.tsv"
    assert main(["generate", "criteo-like", "--num_rows=20000", f"--output={raw}", "--cardinality_scale=0.001"]) == 0
    _train(raw, directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the first 8,000 rows of Criteo's log."""
    if not SAMPLE.exists():
        pytest.skip(f"Criteo's terms do not let us ship their rows; this test wants a sample at {SAMPLE}")
    directory = tmp_path_factory.mktemp("real")
    with gzip.open(SAMPLE) as file:
        (directory / "rows.tsv").write_bytes(b"".join(file.readline() for _ in range(8000)))
    _train(directory / "rows.tsv", directory)
    return directory


def _train(raw: Path, directory: Path) -> None:
    prepare = ["prepare", f"--source={raw}", f"--output={directory / 'prepared'}", "--show_progress=false"]
    assert main([*prepare, "--split.test_fraction=0.5", "--split.val_fraction=0.1"]) == 0
    train = ["train", *tiny_settings(directory / "prepared", directory, "run"), "--training.num_epochs=2"]
    assert main([*train, "--model.embedding_dim=8", "--model.dense_arch=[16,8]", "--model.over_arch=[16,1]"]) == 0


def test_rows_of_every_type_stand_for_the_floats_within_half_a_step():
    weight = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    spans = (weight.max(dim=1).values - weight.min(dim=1).values).unsqueeze(1)
    for kind, steps in (("int8", 255), ("int4", 15)):
        rows = quantized_rows(weight, kind)
        assert rows.shape == (50, row_bytes(8, kind))
        # Half a step, and what scale and bias in float16 lose.
        assert (float_rows(rows, kind) - weight).abs().le(spans * 0.5 / steps + 4e-3).all()
    assert torch.equal(float_rows(quantized_rows(weight, "fp16"), "fp16"), weight.half().float())
    assert torch.equal(float_rows(quantized_rows(weight, "fp32"), "fp32"), weight)


@pytest.mark.parametrize("data", ["generated", "real"])
def test_quantized_scores_stay_within_bounds_and_int8_within_half_a_thousandth_of_auc(
    data: str, request: pytest.FixtureRequest
):
    folder: Path = request.getfixturevalue(data)
    parts = open_model(folder / "run").parts
    models = {"fp32": parts}
    models |= {kind: quantized(parts, dict.fromkeys(float_tables(parts.weights), kind), "fp32") for kind in BOUNDS}
    table = pq.read_table(folder / "prepared" / "test")
    scores = {kind: scorer_of_parts(model).score_table(table) for kind, model in models.items()}
    for kind, bound in BOUNDS.items():
        moved = np.abs(scores[kind] - scores["fp32"])
        assert 0 < moved.max() <= bound
        assert moved.mean() <= bound / 10
    found = judge_models(
        {kind: scorer_of_parts(models[kind]) for kind in ("fp32", "int8")}, folder / "prepared", "test"
    )
    auc = found["int8"].auc
    assert auc.low < auc.value < auc.high
    assert auc.low >= -0.0005
    assert found["int8"].verdict(0.999) == "kept"


@pytest.mark.parametrize(("dense", "bound"), [("bf16", 0.02), ("int8", 0.3)])
def test_dense_types_move_scores_within_bounds_and_are_read_back_alike(
    dense: str, bound: float, generated: Path, tmp_path: Path
):
    settings = [f"--output={tmp_path / 'bundle'}", "--tables=fp32", f"--dense={dense}"]
    assert main(["quantize", str(generated / "run"), *settings]) == 0
    table = pq.read_table(generated / "prepared" / "test").slice(0, 500)
    expected = scorer_of_parts(open_model(generated / "run").parts).score_table(table)
    found = scorer_of_bundle(open_bundle(tmp_path / "bundle")).score_table(table)
    moved = np.abs(found - expected)
    assert 1e-6 < moved.max() < bound
    assert open_bundle(tmp_path / "bundle").signature["self_check"]["largest_differences"]["eager"] == 0


def test_each_table_takes_its_own_type_and_programs_hold_them(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    types = '--table_types={"C1*": "int4", "C1": "fp16", "C2": "fp32"}'
    arguments = ["quantize", str(generated / "run"), f"--output={tmp_path / 'bundle'}", types]
    assert main([*arguments, "--formats=[exported,torchscript]"]) == 0
    bundle = open_bundle(tmp_path / "bundle")
    kinds = bundle.signature["precision"]["tables"]
    assert [kinds[name] for name in ("C1", "C10", "C2", "C3")] == ["fp16", "int4", "fp32", "int8"]
    assert bundle.formats["exported"] is bundle.formats["torchscript"] is None
    assert "int4         10 tables: C10" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "bundle"), str(generated / "rows.tsv"), f"--output={tmp_path / 'p'}"]) == 0
    assert pq.read_table(tmp_path / "p").num_rows == 20_000


def test_a_quantized_bundle_is_exported_anew_and_formats_it_cannot_have_are_told(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["quantize", str(generated / "run"), f"--output={tmp_path / 'int8'}"]) == 0
    arguments = ["export", str(tmp_path / "int8"), f"--output={tmp_path / 'anew'}", "--formats=[torchscript]"]
    assert main(arguments) == 2
    assert "--data_path" in capsys.readouterr().err
    assert main([*arguments, f"--data_path={generated / 'prepared'}"]) == 0
    assert (
        open_bundle(tmp_path / "anew").signature["precision"] == open_bundle(tmp_path / "int8").signature["precision"]
    )
    table = pq.read_table(generated / "prepared" / "test").slice(0, 300)
    anew, before = (scorer_of_bundle(open_bundle(tmp_path / name)) for name in ("anew", "int8"))
    assert np.array_equal(anew.score_table(table), before.score_table(table))


@pytest.mark.full
def test_compiled_programs_of_quantized_tables_are_told_not_to_exist(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["quantize", str(generated / "run"), f"--output={tmp_path / 'int8'}", "--formats=[aoti]"]) == 0
    assert "aoti         not supported" in capsys.readouterr().out


TRICKS = (
    "--model.tables.quotient_remainder.operation=mult --model.tables.quotient_remainder.threshold=50 "
    "--model.tables.mixed_dimensions.temperature=0.3 --model.tables.pooling=mean "
    "--model.embedding_dim=8 --model.dense_arch=[16,8]"
)


def test_table_tricks_reach_the_bundle_in_any_type(generated: Path, tmp_path: Path):
    settings = tiny_settings(generated / "prepared", tmp_path, "run")
    assert main(["train", *settings, "--training.max_steps=10", *TRICKS.split()]) == 0
    assert main(["export", str(tmp_path / "run"), f"--output={tmp_path / 'float'}", "--formats=[]"]) == 0
    assert main(["quantize", str(tmp_path / "run"), f"--output={tmp_path / 'int8'}", "--dense=bf16"]) == 0
    table = pq.read_table(generated / "prepared" / "test").sort_by("row_id")
    trained = pq.read_table(tmp_path / "run" / "scores" / "test").sort_by("row_id")["score"].to_numpy()
    exact = scorer_of_bundle(open_bundle(tmp_path / "float")).score_table(table)
    assert np.abs(exact - trained).max() <= 1e-6
    narrow = scorer_of_bundle(open_bundle(tmp_path / "int8")).score_table(table)
    assert 0 < np.abs(narrow - trained).max() <= BOUNDS["int8"] + 0.02


def test_what_is_quantized_is_not_quantized_again(generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["quantize", str(generated / "run"), f"--output={tmp_path / 'once'}"]) == 0
    assert main(["quantize", str(tmp_path / "once"), f"--output={tmp_path / 'twice'}"]) == 2
    assert "quantized already" in capsys.readouterr().err
    typo = ['--table_types={"D1": "int4"}', f"--output={tmp_path / 'typo'}"]
    assert main(["quantize", str(generated / "run"), *typo]) == 2
    assert "table_types.D1 matches no table" in capsys.readouterr().err


def test_the_search_finds_smaller_types_within_the_limit_by_the_interval(generated: Path):
    parts = open_model(generated / "run").parts
    table = stored_rows(StoredSplit(generated / "prepared", "test"), range(1500))
    loose, tight = (search(parts, table, limit, "fp32", KEPT) for limit in (0.02, 0.0002))
    for found, limit in ((loose, 0.02), (tight, 0.0002)):
        assert -found.difference.low <= limit * found.auc
        assert found.kinds["C5"] == "fp32"
        # The difference that the search believes in is that of the kernels themselves.
        exact = quantized(parts, found.kinds, "fp32")
        kept = scorer_of_parts(exact).score_table(table)
        labels = table["label"].to_numpy()
        assert evaluate_arrays(kept, labels).auc - found.auc == pytest.approx(found.difference.value, abs=2e-5)
    assert loose.num_bytes < tight.num_bytes
    assert set(loose.kinds.values()) >= {"int4"}


def test_limits_are_judged_by_the_interval_and_not_by_its_middle():
    evaluation = evaluate_arrays(np.array([0.2, 0.8], np.float32), np.array([0, 1]))

    def verdict(value: float, se: float) -> str:
        quality = Quality(
            evaluation=evaluation,
            auc=Difference(value, se),
            logloss=Difference(0, 0),
            largest_move=0,
            reference_auc=0.8,
        )
        return quality.verdict(0.999)

    # 99.9 % of 0.8 allow a loss of 0.0008; 1.96 standard errors lie on either side.
    assert verdict(-0.0005, 0.0001) == "kept"
    assert verdict(-0.0005, 0.0002) == "undecided"
    assert verdict(-0.0009, 0.0002) == "undecided"
    assert verdict(-0.0020, 0.0002) == "broken"


def test_models_are_compared_in_one_report(generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["quantize", str(generated / "run"), f"--output={tmp_path / 'int4'}", "--tables=int4"]) == 0
    quick = ["--batch_sizes=[1,64]", "--rounds=2", "--seconds_per_round=0.01", f"--out={tmp_path / 'report'}"]
    assert main(["compare-quantized", str(generated / "run"), str(tmp_path / "int4"), *quick]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "report" / "report.json").read_text())["results"]
    assert found["run/auc_difference"] == 0
    assert found["int4/bytes"] < 0.5 * found["run/bytes"]
    assert found["int4/auc_difference_low"] < found["int4/auc_difference"] < found["int4/auc_difference_high"]
    assert found["int4/auc"] - found["run/auc"] == pytest.approx(found["int4/auc_difference"], abs=1e-9)
    assert found["int4/p99_ms_at_64"] >= found["int4/p50_ms_at_64"] > 0
    assert f"{found['int4/auc']:.6f}" in said
    html = (tmp_path / "report" / "report.html").read_text()
    assert html.count("<svg") == 4
    assert "Machine" in html


def test_models_are_not_judged_on_other_data(
    generated: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["quantize", str(generated / "run"), f"--output={tmp_path / 'int8'}"]) == 0
    models = [str(tmp_path / "int8"), str(generated / "run")]
    assert main(["compare-quantized", *models, f"--data_path={prepared}"]) == 2
    assert "trained on" in capsys.readouterr().err
    assert main(["compare-quantized", *models]) == 2
    assert "name the directory by --data_path" in capsys.readouterr().err


def test_flat_rows_of_one_hot_columns_are_the_columns_feature_by_feature(generated: Path):
    table = pq.read_table(generated / "prepared" / "test").slice(3, 5)
    flat = flat_rows(table, open_model(generated / "run").parts.schema)
    assert flat.dense[:, 1].tolist() == table["I2"].to_pylist()
    assert flat.values[5:10].tolist() == table["C2"].to_pylist()
    assert flat.lengths.tolist() == [1] * 130
