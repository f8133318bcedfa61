"""Does the memory of training grow with the rows? Peak of the fullest of two ranks, one epoch and evaluation,
at two numbers of rows.

Run as `python -m benchmarks.train_memory`. Ids are hashed into tables of a fixed size, so that the model is the same and only
the rows grow: the two peaks should agree within 10 %. The last line of output is JSON.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from data.config import GenerateConfig, PrepareConfig
from data.generating.generator import generate
from data.preparing.prepare import prepare

NUM_ROWS = (200_000, 2_000_000)
ACCEPTED_GROWTH = 0.10
SETTINGS = "--model.embedding_dim=8 --model.dense_arch=[32,8] --model.over_arch=[32,1] --training.log_every_steps=200"


def main() -> None:
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in NUM_ROWS:
            prepared = _prepared(Path(folder), num_rows)
            peaks[num_rows] = _peak_of_training(prepared, Path(folder) / "runs")
            print(f"{num_rows:>9,} rows: peak {peaks[num_rows]:.0f} MiB", flush=True)
    few, many = (peaks[num_rows] for num_rows in NUM_ROWS)
    growth = many / few - 1
    print(
        json.dumps({"benchmark": "train_memory", "peak_mib": peaks, "growth": growth, "ok": growth <= ACCEPTED_GROWTH})
    )


def _prepared(folder: Path, num_rows: int) -> Path:
    source, output = folder / f"{num_rows}.tsv", folder / str(num_rows)
    generate(GenerateConfig(output=str(source), num_rows=num_rows))
    prepare(PrepareConfig(source=str(source), output=str(output), ids="hash", table_sizes=(1000,), show_progress=False))
    source.unlink()
    return output


def _peak_of_training(prepared: Path, runs_dir: Path) -> float:
    """MiB that the fullest of two ranks held at most, training and evaluating."""
    name = f"rows-{prepared.name}"
    job = [
        sys.executable,
        "-m",
        "pipeline",
        "train",
        f"--data.path={prepared}",
        f"--runs_dir={runs_dir}",
        f"--name={name}",
    ]
    subprocess.run([*job, "--ranks=2", *SETTINGS.split()], check=True, capture_output=True)
    metrics = json.loads((runs_dir / name / "metrics.json").read_text())
    return metrics["perf/peak_rss_gib"] * 1024


if __name__ == "__main__":
    main()
