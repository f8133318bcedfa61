"""Ten times the rows: does it take ten times as long, and no more memory? python -m benchmarks.rows

prepare, train and evaluate run as the command line starts them, each in a process of its own, on some rows and on ten times as
many. Ids are hashed into tables of a fixed size, so that nothing but the rows grows. Held to: time at most 10.5 times, peak
memory at most 5 % more. The median of some rounds counts for time; for memory the highest peak on either side, since two
threads reach theirs together or not, by chance. The last line is one line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

MOST_TIME, MOST_MEMORY = 10.5, 1.05
MODEL = "--model.embedding_dim=8 --model.dense_arch=[32,8] --model.over_arch=[32,1] --training.log_every_steps=200"


def main() -> None:
    asked = parse_arguments()
    sizes = (asked.rows, 10 * asked.rows)
    runs: dict[str, dict[int, list[tuple[float, float]]]] = {
        job: {rows: [] for rows in sizes} for job in ("prepare", "train", "evaluate")
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in sizes:
            _run(["generate", "criteo-like", f"--num_rows={rows}", f"--output={folder / f'{rows}.tsv'}"])
        for round_ in range(asked.rounds):
            for rows in sizes:
                for job, command in _commands(folder, rows, f"run-{rows}-{round_}").items():
                    runs[job][rows].append(_run(command))
    jobs = {job: _judged(job, by_rows, asked.rows) for job, by_rows in runs.items()}
    print(json.dumps({"benchmark": "rows", "rows": sizes, "rounds": asked.rounds, "jobs": jobs}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows; and ten times as many")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is run")
    return parser.parse_args()


def _commands(folder: Path, rows: int, run: str) -> dict[str, list[str]]:
    source, prepared = folder / f"{rows}.tsv", folder / f"prepared-{rows}"
    hashed = "--ids=hash --table_sizes=[1000] --show_progress=false --force=true"
    return {
        "prepare": ["prepare", f"--source={source}", f"--output={prepared}", *hashed.split()],
        "train": ["train", f"--data.path={prepared}", f"--runs_dir={folder}", f"--name={run}", *MODEL.split()],
        "evaluate": ["evaluate", str(folder / run), "--splits=[train]"],
    }


def _run(arguments: list[str]) -> tuple[float, float]:
    """Seconds of a job, and the MiB that its process held at most."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "pipeline", *arguments], stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}:\n{said.read().decode()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def _judged(job: str, by_rows: dict[int, list[tuple[float, float]]], few: int) -> dict[str, Any]:
    seconds = {rows: median(each[0] for each in runs) for rows, runs in by_rows.items()}
    peaks = {rows: max(each[1] for each in runs) for rows, runs in by_rows.items()}
    times, memory = seconds[10 * few] / seconds[few], peaks[10 * few] / peaks[few]
    is_met = times <= MOST_TIME and memory <= MOST_MEMORY
    print(
        f"{job:<10} {seconds[few]:7.1f} s -> {seconds[10 * few]:7.1f} s, {times:5.2f} times;"
        f" {peaks[few]:6.0f} MiB -> {peaks[10 * few]:6.0f} MiB, {memory - 1:+.1%}: {'met' if is_met else 'MISSED'}",
        flush=True,
    )
    return {
        "seconds": {str(rows): value for rows, value in seconds.items()},
        "peak_mib": {str(rows): value for rows, value in peaks.items()},
        "time_ratio": times,
        "memory_ratio": memory,
        "ok": is_met,
    }


if __name__ == "__main__":
    main()
