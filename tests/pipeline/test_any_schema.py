"""Data of four shapes through the documented commands of docs/data.md: prepared, trained on and evaluated."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml

from data.config import GenerateConfig
from data.generating.generator import generate
from data.manifest import Manifest
from pipeline.auc_doctor.gathering import look_at_rows
from pipeline.checkpointing.tensors import read_whole
from pipeline.cli import main
from tests.pipeline.forked_ranks import run_on_forked_ranks
from tests.pipeline.job_runs import REPOSITORY, losses_of, metrics_of, run_command, tiny_settings

SPECS = REPOSITORY / "pipeline/configs/specs"
GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance")


@pytest.fixture(scope="module")
def ratings(tmp_path_factory) -> Path:
    """4,000 ratings by 60 users of 90 movies: 5 stars for nine of ten comedies, 1 star for nine of ten others."""
    rng = np.random.default_rng(0)
    genres_of = [rng.choice(GENRES, rng.integers(0, 4), replace=False) for _ in range(90)]
    lines = ["user,movie,age,rated_at,genres,tags,rating"]
    for i in range(4000):
        movie = int(rng.integers(90))
        is_liked = ("Comedy" in genres_of[movie]) != (rng.random() < 0.1)
        pairs = zip(rng.integers(9, size=2), rng.random(2), strict=True)
        tags = "|".join(f"tag{tag}:{weight:.2f}" for tag, weight in pairs)
        age = "" if rng.random() < 0.1 else str(rng.integers(16, 80))
        genres, tags = "|".join(genres_of[movie]), "" if rng.random() < 0.2 else tags
        lines.append(f"u{rng.integers(60)},m{movie},{age},{1_700_000_000 + i},{genres},{tags},{5 if is_liked else 1}")
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def prepared_ratings(ratings: Path) -> Path:
    return prepare(ratings, SPECS / "movie_ratings.yaml", ratings.parent / "prepared")


def prepare(source: Path, spec: Path, output: Path, *more: str) -> Path:
    arguments = [f"--source={source}", f"--spec={spec}", f"--output={output}", "--show_progress=false"]
    assert main(["prepare", *arguments, "--row_group_rows=256", "--rows_per_part=2048", *more]) == 0
    return output


def trained(prepared: Path, runs: Path, *more: str) -> dict[str, float]:
    """Metrics of a run on one rank, evaluated again from its checkpoint."""
    assert main(["train", *tiny_settings(prepared, runs, "run"), *more]) == 0
    assert main(["evaluate", str(runs / "run"), f"--out={runs / 'again'}", "--eval_batch_size=500"]) == 0
    assert metrics_of(runs / "again")["test/auc"] == pytest.approx(metrics_of(runs / "run")["test/auc"], abs=1e-6)
    return metrics_of(runs / "run")


def test_ratings_with_lists_and_weights_are_learned_on_two_ranks(prepared_ratings: Path, tmp_path: Path) -> None:
    settings = [*tiny_settings(prepared_ratings, tmp_path, "pair"), "--training.num_epochs=3"]
    done = run_command("train", *settings, "--ranks=2", "--training.log_every_steps=1")
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(tmp_path / "pair")
    # Nine of ten labels follow from the genres: a perfect ranker has an AUC of 0.9.
    assert 0.85 < metrics["test/auc"] < 0.95
    settings_again = [f"--out={tmp_path / 'again'}", "--eval_batch_size=500", "--ranks=2"]
    again = run_command("evaluate", str(tmp_path / "pair"), *settings_again)
    assert again.returncode == 0, again.stderr
    assert metrics_of(tmp_path / "again")["test/auc"] == pytest.approx(metrics["test/auc"], abs=1e-6)
    more = [
        f"--resume_from={tmp_path / 'pair'}",
        "--name=more",
        "--training.num_epochs=4",
        "--training.log_every_steps=1",
    ]
    assert main(["train", *settings, *more]) == 0
    num_steps = len(losses_of(tmp_path / "pair"))
    assert len(losses_of(tmp_path / "more")) == num_steps // 3


def test_genres_weighed_by_position_are_learned_on_two_ranks_exported_and_described(
    prepared_ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {"override": {"genres": {"pooling": "position"}}}  # as many positions as the spec's max_length: 6
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"model": {"ranker": "mlp", "tables": tables}}))
    settings = [*tiny_settings(prepared_ratings, tmp_path, "run"), "--model.dense_arch=[64,16]"]
    arguments = ["train", f"--config={tmp_path / 'job.yaml'}", *settings, "--training.num_epochs=3"]
    assert run_on_forked_ranks(arguments, 2, tmp_path / "said") == [0, 0], (tmp_path / "said").read_text()
    run = tmp_path / "run"
    assert 0.85 < metrics_of(run)["test/auc"] < 0.95
    name = "model.ranker.compose.groups.0.position_weights.genres.weight"
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    weights = read_whole(checkpoint, name)[""]
    assert weights.shape == (6,)
    assert (weights[:3] - 1).abs().max() > 0.01  # no row has more than three genres
    assert (weights[3:] == 1).all()
    assert main(["export", str(run), f"--output={tmp_path / 'bundle'}", "--formats=[exported]"]) == 0
    assert main(["evaluate", str(run), f"--out={tmp_path / 'again'}", "--eval_batch_size=500"]) == 0
    assert metrics_of(tmp_path / "again")["test/auc"] == pytest.approx(metrics_of(run)["test/auc"], abs=1e-6)
    capsys.readouterr()
    assert main(["describe", f"--config={tmp_path / 'job.yaml'}", f"--data.path={prepared_ratings}"]) == 0
    assert re.search(r"position weights +6 ", capsys.readouterr().out)


def test_criteo_kaggle_format_is_prepared_by_its_spec_as_without_one(tmp_path: Path) -> None:
    generate(GenerateConfig(output=str(tmp_path / "train.txt"), num_rows=4000))
    by_spec = prepare(tmp_path / "train.txt", SPECS / "criteo_kaggle.yaml", tmp_path / "by_spec")
    settings = [f"--source={tmp_path / 'train.txt'}", "--row_group_rows=256", "--rows_per_part=2048"]
    assert main(["prepare", *settings, f"--output={tmp_path / 'plain'}", "--show_progress=false"]) == 0
    assert files_of(by_spec) == files_of(tmp_path / "plain")
    assert "test/auc" in trained(by_spec, tmp_path / "runs")


def test_criteo_text_is_prepared_alike_by_the_parser_of_any_table(tmp_path: Path) -> None:
    generate(GenerateConfig(output=str(tmp_path / "train.txt"), num_rows=2000))
    by_spec = prepare(tmp_path / "train.txt", SPECS / "criteo_kaggle.yaml", tmp_path / "by_spec")
    spec = yaml.safe_load((SPECS / "criteo_kaggle.yaml").read_text())
    # With a quote character it is no longer Criteo's own format, though there is no quote in the file.
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec | {"format": spec["format"] | {"quote": '"'}}))
    assert files_of(prepare(tmp_path / "train.txt", tmp_path / "spec.yaml", tmp_path / "any")) == files_of(by_spec)


def test_criteo_terabyte_format_of_several_days_is_prepared_by_its_spec(tmp_path: Path) -> None:
    generate(GenerateConfig(output=str(tmp_path / "days"), num_rows=3000, num_days=3, preset="terabyte", base_rate=0.3))
    spec = yaml.safe_load((SPECS / "criteo_terabyte_multi_hot.yaml").read_text())
    spec["sparse"][0]["num_rows"] = [min(size, 500) for size in spec["sparse"][0]["num_rows"]]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    output = prepare(tmp_path / "days", tmp_path / "spec.yaml", tmp_path / "out", "--split.by=day")
    manifest = Manifest.load(output)
    assert [split.num_rows for split in manifest.splits.values()] == [2000, 500, 500]
    assert sum(feature.pooling_factor for feature in manifest.schema.sparse) == 214
    assert "test/auc" in trained(output, tmp_path / "runs", "--training.max_steps=3")


def test_parquet_set_is_prepared_by_a_spec(ratings: Path, prepared_ratings: Path, tmp_path: Path) -> None:
    table = pa_csv.read_csv(ratings, convert_options=pa_csv.ConvertOptions(strings_can_be_null=True))
    genres = pa.array([text.split("|") if text else [] for text in table["genres"].to_pylist()])
    table = table.set_column(table.schema.get_field_index("genres"), "genres", genres)
    (tmp_path / "set").mkdir()
    for i in range(2):
        pq.write_table(table.slice(2000 * i, 2000), tmp_path / f"set/{i}.parquet", row_group_size=700)
    spec = yaml.safe_load((SPECS / "movie_ratings.yaml").read_text()) | {"format": "parquet"}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    output = prepare(tmp_path / "set", tmp_path / "spec.yaml", tmp_path / "out")
    assert files_of(output) == files_of(prepared_ratings)
    assert trained(output, tmp_path / "runs", "--training.num_epochs=3")["test/auc"] > 0.85


def test_twins_of_rows_are_found_in_lists_too(prepared_ratings: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(prepared_ratings)
    seen = look_at_rows(prepared_ratings, manifest, "test")
    assert seen is not None
    assert seen.share_seen_in_train < 0.05
    itself = look_at_rows(prepared_ratings, manifest, "train")
    assert itself is not None
    assert itself.share_seen_in_train == 1.0


def files_of(prepared: Path) -> dict[str, bytes]:
    paths = [path for path in prepared.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(prepared)): path.read_bytes() for path in paths}
