"""A small prepared dataset, and training on it through the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main
from tests.pipeline.job_runs import tiny_settings


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 generated rows, prepared: about 3,200 to train on, 400 to validate, 400 to test."""
    directory = tmp_path_factory.mktemp("prepared")
    raw, output = str(directory / "rows.tsv"), str(directory / "rows")
    assert main(["generate", "criteo-like", "--num_rows=4000", f"--output={raw}", "--cardinality_scale=0.001"]) == 0
    assert main(["prepare", f"--source={raw}", f"--output={output}", "--show_progress=false"]) == 0
    return directory / "rows"


@pytest.fixture(scope="session")
def learnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30,000 generated rows, prepared: enough to learn the planted signal from in one pass over 24,000 of them."""
    directory = tmp_path_factory.mktemp("learnable")
    raw, output = str(directory / "rows.tsv"), str(directory / "rows")
    assert main(["generate", "criteo-like", "--num_rows=30000", f"--output={raw}", "--cardinality_scale=0.001"]) == 0
    assert main(["prepare", f"--source={raw}", f"--output={output}", "--show_progress=false"]) == 0
    return directory / "rows"


@pytest.fixture(scope="session")
def served_run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `run`, trained on `prepared`, and `bundle`, exported from it without programs."""
    directory = tmp_path_factory.mktemp("served")
    assert main(["train", *tiny_settings(prepared, directory, "run"), "--training.num_epochs=2"]) == 0
    assert main(["export", str(directory / "run"), f"--output={directory / 'bundle'}", "--formats=[]"]) == 0
    return directory


@pytest.fixture
def train(prepared: Path, tmp_path: Path) -> Callable[..., Path]:
    """`train("--key=value ...")` runs the job in this process on one rank; its run directory, or the exit code where not 0."""

    def run(settings: str = "", name: str = "run") -> Path:
        code = main(["train", *tiny_settings(prepared, tmp_path, name), *settings.split()])
        assert code == 0, f"exit code {code}"
        return tmp_path / name

    return run
