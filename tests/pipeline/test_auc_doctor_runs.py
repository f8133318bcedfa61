"""The AUC doctor's causes planted in real small training runs through the command line: found, named, and quiet in health."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.auc_doctor import with_test_labels
from pipeline.cli import main
from tests.pipeline.job_runs import tiny_settings

Lines = list[list[str]]
TRAINING = ["--training.threads_per_rank=1", "--training.log_every_steps=2"]


@pytest.fixture(scope="module")
def raw_lines(tmp_path_factory) -> Lines:
    """8,000 generated rows: label, 13 integers, 26 ids, as text fields."""
    path = tmp_path_factory.mktemp("raw") / "rows.tsv"
    assert main(["generate", "criteo-like", "--num_rows=8000", f"--output={path}", "--cardinality_scale=0.001"]) == 0
    return [line.split("\t") for line in path.read_text().splitlines()]


def prepare(lines: Lines, directory: Path, *settings: str) -> Path:
    """The lines prepared: about 5,200 rows to train on, 800 to validate, 2,000 to test."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rows.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    output = directory / "data"
    command = ["prepare", f"--source={directory / 'rows.tsv'}", f"--output={output}", "--show_progress=false"]
    assert main([*command, "--split.test_fraction=0.25", *settings]) == 0
    return output


def causes(data: Path, runs_dir: Path, *settings: str, name: str = "run") -> list[str]:
    """What the doctor names after training on `data`, and after evaluating what was trained."""
    assert main(["train", *tiny_settings(data, runs_dir, name), *TRAINING, *settings]) == 0
    told = runs_dir / name / "doctor.json"
    at_end = [item["cause"] for item in json.loads(told.read_text())["findings"]] if told.exists() else []
    return at_end + [cause for cause in evaluated(runs_dir / name) if cause not in at_end]


def evaluated(run: Path, *settings: str) -> list[str]:
    out = run / f"evaluation-{len(list(run.iterdir()))}"
    assert main(["evaluate", str(run), f"--out={out}", "--device=cpu", *settings]) == 0
    return [item["cause"] for item in json.loads((out / "metrics.json").read_text()).get("findings", [])]


@pytest.fixture(scope="module")
def healthy(raw_lines, tmp_path_factory) -> tuple[Path, Path]:
    """Prepared data and a healthy run on them."""
    directory = tmp_path_factory.mktemp("healthy")
    data = prepare(raw_lines, directory)
    assert causes(data, directory) == []
    return data, directory / "run"


def test_a_healthy_run_raises_nothing(healthy, capsys):
    _, run = healthy
    assert not (run / "doctor.json").exists()
    assert main(["evaluate", str(run), "--device=cpu"]) == 0
    assert "doctor" not in capsys.readouterr().out


def with_label(choose: Callable[[int, str], str]) -> Callable[[Lines], Lines]:
    return lambda lines: [[choose(number, line[0]), *line[1:]] for number, line in enumerate(lines)]


def shuffled_labels(lines: Lines) -> Lines:
    order = np.random.default_rng(1).permutation(len(lines))
    return [[lines[other][0], *line[1:]] for other, line in zip(order, lines, strict=True)]


def label_as_id(lines: Lines) -> Lines:
    return [[*line[:14], f"{int(line[0]) + 10:08x}", *line[15:]] for line in lines]


PLANTED_IN_ROWS: dict[str, tuple[Callable[[Lines], Lines], list[str]]] = {
    "constant labels": (with_label(lambda number, label: "0"), []),
    "labels of another file": (shuffled_labels, []),
    "leaked label": (label_as_id, []),
    "features constant": (lambda lines: [[line[0], *lines[0][1:]] for line in lines], []),
    "train and test the same rows": (lambda lines: lines[:3000] * 2, []),
    "most ids in row 0": (lambda lines: lines, ["--min_count=100000"]),
    "ids hashed into one bucket": (lambda lines: lines, ["--ids=hash", "--table_sizes=[2]"]),
}


@pytest.mark.parametrize("cause", PLANTED_IN_ROWS)
def test_a_cause_planted_in_the_rows_is_named(cause, raw_lines, tmp_path):
    plant, settings = PLANTED_IN_ROWS[cause]
    data = prepare(plant(raw_lines), tmp_path, *settings)
    expected = {cause, "constant scores"} if cause == "features constant" else {cause}
    epochs = 3 if cause in ("leaked label", "labels of another file") else 1
    assert expected <= set(causes(data, tmp_path, f"--training.num_epochs={epochs}"))


PLANTED_IN_TRAINING = {
    "tables never updated": ["--optimizer.sparse.lr=1e-30"],
    "learning rate that does nothing": ["--optimizer.sparse.lr=1e-9", "--optimizer.dense.lr=1e-9"],
    "learning rate that diverges": ["--optimizer.sparse.lr=30", "--optimizer.dense.lr=3"],
}


@pytest.mark.parametrize("cause", PLANTED_IN_TRAINING)
def test_a_cause_planted_in_training_is_named(cause, healthy, tmp_path):
    assert cause in causes(healthy[0], tmp_path, *PLANTED_IN_TRAINING[cause])


def test_an_infinite_loss_ends_training_and_is_named(healthy, tmp_path, capsys):
    settings = [*tiny_settings(healthy[0], tmp_path, "run"), *TRAINING]
    assert main(["train", *settings, "--optimizer.dense.lr=1e30", "--optimizer.sparse.lr=1e30"]) == 2
    assert "training diverged" in capsys.readouterr().err


def test_labels_changed_after_training_are_named(healthy, tmp_path):
    data, run = healthy
    inverted = with_test_labels(data, tmp_path / "inverted", lambda labels: 1 - labels)
    assert evaluated(run, f"--data_path={inverted}") == ["inverted labels"]
    for seed in (4, 5, 6):
        shuffled = with_test_labels(data, tmp_path / f"shuffled-{seed}", np.random.default_rng(seed).permutation)
        assert evaluated(run, f"--data_path={shuffled}") == ["labels of another file"]


def test_days_split_at_random_are_named(tmp_path):
    days = tmp_path / "days"
    generate = ["generate", "criteo-like", "--num_rows=6000", "--num_days=3", f"--output={days}"]
    assert main([*generate, "--cardinality_scale=0.001"]) == 0
    command = ["prepare", f"--source={days}", "--show_progress=false"]
    for split, expected in (("fraction", ["order of days broken"]), ("day", [])):
        assert main([*command, f"--split.by={split}", f"--output={tmp_path / split}"]) == 0
        assert causes(tmp_path / split, tmp_path, name=f"run-{split}") == expected
