"""The leaderboard through the command line: its table, what it keeps, and where the table goes."""

import json
from pathlib import Path

import pytest

from models.registry import RANKERS
from pipeline.cli import main
from pipeline.leaderboard.entries import load_entries
from pipeline.leaderboard_config import SHIPPED, LeaderboardConfig

SETTINGS = """
prepare: {show_progress: false, split: {val_fraction: 0.0}}
train:
  device: cpu
  model: %s
  optimizer: {sparse: {lr: 0.1}, dense: {lr: 0.01}}
  training: {global_batch_size: 240, threads_per_rank: 1}
"""
MODELS = {"lines": "{ranker: logistic_regression}", "pairs": "{ranker: fm, embedding_dim: 4}"}


@pytest.fixture(scope="module")
def board(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments for two rankers and two folds of 4,000 generated rows, a Markdown file with markers beside them."""
    folder = tmp_path_factory.mktemp("board")
    for name, model in MODELS.items():
        (folder / f"{name}.yaml").write_text(SETTINGS % model)
    (folder / "models.md").write_text("before\n<!-- leaderboard planted -->\nold\n<!-- end -->\nafter\n")
    source = f"--source={prepared.parent / 'rows.tsv'}"
    return [
        "leaderboard",
        source,
        f"--configs=[{folder}]",
        f"--out={folder / 'out'}",
        "--num_folds=2",
        "--name=planted",
        f"--into={folder / 'models.md'}",
    ]


@pytest.fixture(scope="module")
def out(board: list[str]) -> Path:
    assert main(board) == 0
    return Path(board[3].removeprefix("--out="))


def test_every_ranker_stands_in_the_report_with_the_mean_of_its_folds(out: Path) -> None:
    standings = json.loads((out / "leaderboard.json").read_text())["results"]["standings"]
    assert {each["name"]: each["ranker"] for each in standings} == {"lines": "logistic_regression", "pairs": "fm"}
    for each in standings:
        runs = [
            json.loads((out / each["name"] / "runs" / f"{each['name']}-fold-{k}" / "metrics.json").read_text())
            for k in (0, 1)
        ]
        assert each["auc"] == pytest.approx(sum(run["test/auc"] for run in runs) / 2)
        assert each["folds"] == [run["test/auc"] for run in runs]
        assert each["share_of_best"] == pytest.approx(
            sum((run["test/auc"] - 0.5) / (run["data/best_auc"] - 0.5) for run in runs) / 2
        )
    by_name = {each["name"]: each for each in standings}
    # Four stored values of the first-order term per id, and in `fm` four of its embedding; outside the tables a weight and, in
    # `fm`, a vector of four per dense feature, and the bias.
    lines, pairs = by_name["lines"], by_name["pairs"]
    tables = [each["num_parameters"] - each["num_dense_parameters"] for each in (lines, pairs)]
    assert (lines["num_dense_parameters"], pairs["num_dense_parameters"]) == (14, 14 + 13 * 4)
    assert tables[1] == 2 * tables[0]


def test_the_table_stands_between_the_markers_best_first(out: Path, board: list[str]) -> None:
    text = Path(board[-1].removeprefix("--into=")).read_text()
    assert text.startswith("before\n<!-- leaderboard planted -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    aucs = [float(row.split("|")[3].strip(" *")) for row in rows]
    assert aucs == sorted(aucs, reverse=True)


def test_finished_rankers_and_folds_are_kept_and_changed_ones_trained_again(out: Path, board: list[str]) -> None:
    def runs(name: str) -> set[str]:
        return {path.name for path in (out / name / "runs").iterdir()}

    ended = (out / "pairs" / "runs" / "pairs-fold-0" / "metrics.json").stat().st_mtime_ns
    before = json.loads((out / "pairs" / "standing.json").read_text())
    # `pairs` as if it was stopped in its second fold, `lines` with other settings.
    (out / "pairs" / "standing.json").unlink()
    (out / "pairs" / "runs" / "pairs-fold-1" / "metrics.json").unlink()
    changed = Path(board[2].removeprefix("--configs=[").removesuffix("]")) / "lines.yaml"
    changed.write_text(changed.read_text().replace("lr: 0.1}", "lr: 0.2}"))
    lines = (out / "lines" / "standing.json").read_text()
    assert main(board) == 0
    assert (out / "pairs" / "runs" / "pairs-fold-0" / "metrics.json").stat().st_mtime_ns == ended
    assert runs("pairs") == {"pairs-fold-0", "pairs-fold-1", "pairs-fold-1-2"}
    assert json.loads((out / "pairs" / "standing.json").read_text())["folds"] == before["folds"]
    assert (out / "lines" / "standing.json").read_text() != lines
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/standing.json")}
    assert main(board) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/standing.json")} == written


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--rankers=[depfm]", ["rankers names depfm", "deepfm, xdeepfm"]),
        ("--overrides=[train.model.embeding_dim=4]", ["embeding_dim"]),
        ("--configs=[nowhere]", ["nowhere", "neither a file"]),
        ("--into=nowhere.md", ["nowhere.md", "<!-- leaderboard leaderboard -->"]),
    ],
)
def test_a_mistake_is_said_before_anything_is_trained(
    change: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", change]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_shipped_configs_load_and_cover_every_ranker() -> None:
    entries = load_entries(LeaderboardConfig(configs=(SHIPPED,)))
    assert {entry.config.train.model.ranker for entry in entries} == set(RANKERS)
