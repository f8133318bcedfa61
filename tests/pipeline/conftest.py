"""A small prepared dataset, and training on it through the command line."""

import subprocess
from collections.abc import Callable, Iterator
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


@pytest.fixture
def train(prepared: Path, tmp_path: Path) -> Callable[..., Path]:
    """`train("--key=value ...")` runs the job in this process on one rank; its run directory, or the exit code where not 0."""

    def run(settings: str = "", name: str = "run") -> Path:
        code = main(["train", *tiny_settings(prepared, tmp_path, name), *settings.split()])
        assert code == 0, f"exit code {code}"
        return tmp_path / name

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for a run's settings and log, but not for a checkpoint."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
