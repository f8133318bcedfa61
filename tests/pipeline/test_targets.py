"""Two targets through the real command line: prepared, learned on two ranks, evaluated, exported, used to predict, refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from tests.pipeline.forked_ranks import run_on_forked_ranks
from tests.pipeline.job_runs import losses_of, metrics_of, tiny_settings

SPEC = """
format: csv
labels: [{name: click, column: clicked}, {name: buy, column: bought}]
dense: [{column: price, type: integer, transforms: [standardise]}]
sparse: [{column: user, min_count: 1}, {column: item, min_count: 1}]
"""
NUM_ROWS = 6000


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Even items are clicked, even users buy what they clicked, nine times of ten; of what is not clicked no sale is known."""
    rng = np.random.default_rng(0)
    lines = ["clicked,bought,price,user,item"]
    for _ in range(NUM_ROWS):
        user, item, price = int(rng.integers(40)), int(rng.integers(60)), int(rng.integers(100))
        is_clicked = (item % 2 == 0) != (rng.random() < 0.1)
        is_bought = (user % 2 == 0) != (rng.random() < 0.1)
        lines.append(f"{int(is_clicked)},{int(is_bought) if is_clicked else ''},{price},u{user},i{item}")
    path = tmp_path_factory.mktemp("targets") / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def prepared_targets(rows: Path) -> Path:
    (rows.parent / "spec.yaml").write_text(SPEC)
    output = rows.parent / "prepared"
    arguments = [f"--source={rows}", f"--spec={rows.parent / 'spec.yaml'}", f"--output={output}"]
    assert main(["prepare", *arguments, "--show_progress=false", "--row_group_rows=256", "--rows_per_part=2048"]) == 0
    return output


@pytest.fixture(scope="module")
def run(prepared_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks: three epochs, the second target watched on the way."""
    runs = tmp_path_factory.mktemp("runs")
    settings = [
        *tiny_settings(prepared_targets, runs, "both"),
        "--model.ranker=wide_and_deep",
        "--model.dense_arch=[64,16]",
    ]
    settings += ["--training.num_epochs=3", "--training.eval_every_steps=20", "--training.watch_target=buy"]
    settings += ["--loss.targets={buy: {weight: 2.0}}", "--training.log_every_steps=1"]
    assert run_on_forked_ranks(["train", *settings], 2, runs / "said", timeout_seconds=240) == [0, 0], (
        runs / "said"
    ).read_text()
    return runs / "both"


def test_both_targets_are_learned_on_two_ranks_and_judged_apart(run: Path) -> None:
    metrics = metrics_of(run)

    # Nine of ten labels follow from item or user alone: a perfect ranker has an AUC of 0.9.
    assert 0.85 < metrics["test/click/auc"] < 0.95
    assert 0.85 < metrics["test/buy/auc"] < 0.95
    assert metrics["test/auc"] == metrics["test/click/auc"]
    assert metrics["test/buy/num_samples"] < 0.6 * metrics["test/num_samples"]
    watched = [row for line in (run / "log.jsonl").read_text().splitlines() if "eval/auc" in (row := json.loads(line))]
    assert watched
    assert all(row["eval/auc"] == row["eval/buy/auc"] != row["eval/click/auc"] for row in watched)
    assert "By target, on the rows whose label is known" in (run / "report.md").read_text()
    assert "one for each target" in (run / "report.html").read_text()  # the picture of the architecture


def test_scores_of_all_targets_are_kept_and_evaluated_again(run: Path, tmp_path: Path) -> None:
    (part,) = (run / "scores/test").glob("part-00000.parquet")
    table = pq.read_table(part)
    assert table.column_names == ["row_id", "label", "score", "label_buy", "score_buy"]
    assert table["label_buy"].null_count == (table["label"].to_numpy() == 0).sum()
    assert main(["evaluate", str(run), f"--out={tmp_path / 'again'}", "--eval_batch_size=500"]) == 0
    again, first = metrics_of(tmp_path / "again"), metrics_of(run)
    for key in ("test/auc", "test/click/auc", "test/buy/auc"):
        assert again[key] == pytest.approx(first[key], abs=1e-6)


@pytest.mark.filterwarnings(
    "error:constrained_layout not applied"
)  # long names in a legend left no room for the drawing
def test_a_run_on_one_rank_is_the_same_and_resumes(run: Path, prepared_targets: Path, tmp_path: Path) -> None:
    settings = [
        *tiny_settings(prepared_targets, tmp_path, "one"),
        "--model.ranker=wide_and_deep",
        "--model.dense_arch=[64,16]",
    ]
    settings += ["--training.log_every_steps=1", "--loss.targets={buy: {weight: 2.0}}", "--training.num_epochs=3"]
    assert main(["train", *settings, "--training.max_steps=4", "--checkpoint.every_steps=2"]) == 0
    more = [
        *settings,
        "--name=more",
        f"--resume_from={tmp_path / 'one/checkpoints/step-00000002'}",
        "--training.max_steps=4",
    ]
    assert main(["train", *more]) == 0

    assert losses_of(tmp_path / "one") == pytest.approx(losses_of(run)[:4], abs=1e-6)
    assert losses_of(tmp_path / "more") == losses_of(tmp_path / "one")[2:]


def test_a_bundle_gives_a_probability_per_target(run: Path, rows: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert main(["export", str(run), f"--output={bundle}", "--formats=[exported,torchscript]"]) == 0
    signature = json.loads((bundle / "signature.json").read_text())
    assert signature["output"]["targets"] == ["click", "buy"]
    assert signature["formats"] == {"exported": None, "torchscript": None}

    assert main(["predict", str(bundle), str(rows), f"--output={tmp_path / 'raw'}"]) == 0
    without = tmp_path / "rows_only.csv"
    without.write_text("\n".join(line.split(",", 2)[2] for line in rows.read_text().splitlines()) + "\n")
    arguments = [str(without), f"--output={tmp_path / 'only'}", "--has_labels=false"]
    assert main(["predict", str(bundle), *arguments]) == 0
    raw, only = (pq.read_table(tmp_path / name / "part-00000.parquet") for name in ("raw", "only"))
    assert raw.column_names == ["row_id", "label", "score", "label_buy", "score_buy"]
    assert only.column_names == ["row_id", "score", "score_buy"]
    for name in only.column_names:
        assert only[name].to_pylist() == raw[name].to_pylist()
    kept = pq.read_table(run / "scores/test/part-00000.parquet")
    found = raw.take(kept["row_id"])
    for name in ("score", "score_buy"):
        np.testing.assert_allclose(found[name].to_numpy(), kept[name].to_numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--loss.targets={buys: {weight: 2}}"],
            "loss.targets.buys is no target of the data; its targets are buy, click",
        ),
        (["--training.watch_target=buys"], "training.watch_target is 'buys', which is no target of the data"),
        (["--loss.negatives_kept=0.5"], "leaving out negatives of one biases the others"),
    ],
)
def test_settings_that_do_not_fit_the_targets_end_in_one_message(
    arguments: list[str], message: str, prepared_targets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny_settings(prepared_targets, tmp_path, "bad"), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "bad").exists()


def test_jobs_that_judge_one_score_refuse_several(
    run: Path, prepared_targets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = tmp_path / "narrow"
    assert main(["quantize", str(run), f"--output={narrow}"]) == 0
    capsys.readouterr()
    assert main(["quantize", str(run), f"--output={tmp_path / 'found'}", "--tables=search"]) == 2
    compared = [
        "compare-quantized",
        str(run),
        str(narrow),
        f"--data_path={prepared_targets}",
        f"--out={tmp_path / 'out'}",
    ]
    assert main(compared) == 2
    assert main(["serve", str(narrow), "--port=0"]) == 2
    assert capsys.readouterr().err.count("knows one score for each row, but the model has targets click, buy") == 3


def test_describe_names_the_targets(prepared_targets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["describe", f"--data.path={prepared_targets}", "--model.ranker=deepfm", "--model.embedding_dim=4"]) == 0
    )
    said = capsys.readouterr().out
    assert "target_click" in said
    assert "first-order terms, buy (2 tables)" in said
