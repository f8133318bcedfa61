"""Where a run keeps what it makes: settings, plan, log, checkpoints, metrics, report."""

import json
import os
from pathlib import Path
from typing import Any

from data.errors import ConfigError


class RunDirectory:
    """The files of one run under `runs_dir/name`. Made by rank 0; the other ranks only name paths in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.plan_table = path / "plan.txt"
        self.plan = path / "plan.json"
        self.log = path / "log.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.scores = path / "scores"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"
        self.doctor = path / "doctor.json"
        self.profile = path / "profile"


def new_run_directory(runs_dir: str, name: str) -> RunDirectory:
    """A directory that no earlier run has: runs_dir/name, or name-2, name-3 ... where that exists already."""
    parent = Path(runs_dir)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
                return RunDirectory(path)
            except FileExistsError:
                number += 1
    except OSError as error:
        raise ConfigError(f"cannot make a run directory under runs_dir={runs_dir}: {error.strerror}.") from error


def run_directory_of(runs_dir: str, name: str) -> RunDirectory:
    """The directory runs_dir/name, made where it is not there."""
    path = Path(runs_dir) / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the run directory {path}: {error.strerror}.") from error
    return RunDirectory(path)


def write_json(path: Path, content: Any) -> None:
    """Write aside, flush to the disk, rename: the file is whole or it is not there."""
    aside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with aside.open("w") as file:
        json.dump(content, file, indent=2, allow_nan=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
