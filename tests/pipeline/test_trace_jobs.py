import json

import pytest

from data.config import GenerateConfig
from data.generating.generator import generate
from pipeline.cli import main


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    directory = tmp_path_factory.mktemp("traces")
    generate(GenerateConfig(output=str(directory / "rows.tsv"), num_rows=5_000))
    features = ["--features", "[C1,C3,C20]"]
    assert main(["learn-trace", str(directory / "rows.tsv"), *features, "--output", str(directory / "learned")]) == 0
    return directory


def test_learned_patterns_match_within_two_points_at_ten_cache_sizes_and_the_report_says_so(learned):
    results = json.loads((learned / "learned/report.json").read_text())["results"]
    for feature in ("C1", "C3", "C20"):
        assert results[f"{feature}/largest_difference"] < 0.02
        pairs = zip(results[f"{feature}/source_hit_rates"], results[f"{feature}/trace_hit_rates"], strict=True)
        assert all(abs(source - trace) < 0.02 for source, trace in pairs)
    assert len(results["C3/cache_sizes"]) == 10
    page = (learned / "learned/report.html").read_text()
    assert page.count("Hit rate of an LRU cache by its size") == 3


def test_generated_trace_is_learned_again_as_the_same_pattern(learned, capsys):
    out = str(learned / "t.parquet")
    assert (
        main(["generate", "trace", "--trace.patterns", str(learned / "learned"), "--output", out, "--num_rows", "5000"])
        == 0
    )
    assert "5,000 rows of ids in 3 columns: C1, C3, C20" in capsys.readouterr().out
    assert (
        main(["learn-trace", out, "--features", "[C3]", "--report", "false", "--output", str(learned / "again")]) == 0
    )
    first, again = (json.loads((learned / name / "C3.pattern.json").read_text()) for name in ("learned", "again"))
    assert first["num_ids"] == again["num_ids"]


def test_ranker_trains_on_generated_traces(learned, tmp_path):
    data = ["--data.source", "random", "--data.random.ids_distribution", "trace", "--data.random.num_rows", "512"]
    data += ["--data.random.trace.patterns", str(learned / "learned"), "--data.random.trace_rows", "256"]
    small = [
        "--training.global_batch_size",
        "64",
        "--model.embedding_dim",
        "8",
        "--runs_dir",
        str(tmp_path),
        "--name",
        "traced",
    ]
    small += ["--model.dense_arch", "[8,8]", "--model.over_arch", "[8,1]"]
    assert main(["train", *data, *small]) == 0
    tables = json.loads((tmp_path / "traced/metrics.json").read_text())
    assert tables["train/steps"] == 8
