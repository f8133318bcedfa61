"""Jobs run as a user runs them, small enough for tests."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TINY_MODEL = (
    "--model.embedding_dim=4 --model.dense_arch=[8,4] --model.over_arch=[8,1] --training.global_batch_size=240 "
    "--training.eval_batch_size=500 --optimizer.sparse.lr=0.1 --optimizer.dense.lr=0.01 --device=cpu"
)


def tiny_settings(prepared: Path, runs_dir: Path, name: str) -> list[str]:
    return [f"--data.path={prepared}", f"--runs_dir={runs_dir}", f"--name={name}", *TINY_MODEL.split()]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments]


def run_command(*arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """A job in a process of its own, as a user starts it."""
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout)


def metrics_of(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


def losses_of(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["train/loss"] for row in rows if "train/loss" in row]
