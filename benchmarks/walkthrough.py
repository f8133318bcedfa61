"""Whole jobs, from the command to its end, beside dlrm_s_pytorch.py: python -m benchmarks.walkthrough --dlrm CHECKOUT

The four jobs of a well-known walk through the DLRM reference's code: random data, 1 or 10 million rows. Start-up, making the
data, training and, for Shardline, evaluation, checkpoint and report are all in the time. The reference takes up to an hour for
them, so both are run on two shares of the rows, in turn, and a line through the two times is drawn out to all rows; where a
share is the whole it is measured. `--full` measures everything. The last line is one line of JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import ENVIRONMENT
from benchmarks.throughput import dlrm_s_options, shardline_settings
from benchmarks.turns import spread

TINY: dict[str, Any] = {"num_dense": 4, "tables": [4, 3, 2], "dim": 2, "dense_arch": [3, 2], "over_arch": [4, 2, 1]}
SMALL: dict[str, Any] = {
    "num_dense": 13,
    "tables": [100] * 12 + [1000] * 3,
    "dim": 16,
    "dense_arch": [512, 256, 64, 16],
    "over_arch": [512, 256, 1],
}
NUM_LOOKUPS = 10  # the reference's default: 1 to 10 ids a bag


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the walk-through, and how many times faster we mean to be."""

    name: str
    shape: dict[str, Any]
    num_rows: int = 1_000_000
    epochs: int = 1
    goal: float
    ours: tuple[int, int]
    """Rows of the two runs of ours, and of the reference below; jobs of the same shape share runs."""
    theirs: tuple[int, int]


JOBS = (
    Job(
        name="1 M rows, batch 1000, 10 epochs",
        shape={**TINY, "batch": 1000},
        epochs=10,
        goal=12.0,
        ours=(500_000, 1_000_000),
        theirs=(20_000, 80_000),
    ),
    Job(
        name="1 M rows, batch 100",
        shape={**TINY, "batch": 100},
        goal=3.5,
        ours=(500_000, 1_000_000),
        theirs=(50_000, 200_000),
    ),
    Job(
        name="1 M rows, batch 128, 15 tables",
        shape={**SMALL, "batch": 128},
        goal=6.0,
        ours=(250_000, 1_000_000),
        theirs=(20_000, 80_000),
    ),
    Job(
        name="10 M rows, batch 128, 15 tables",
        shape={**SMALL, "batch": 128},
        num_rows=10_000_000,
        goal=7.0,
        ours=(250_000, 1_000_000),
        theirs=(20_000, 80_000),
    ),
)
DIFFERENCES = (
    "The reference draws ids with its own generator in Python, Shardline with a hash of the row number; both 1 to 10 ids a bag.",
    "Both minimise binary cross-entropy with SGD. (The reference's default is a squared error, which costs the same.)",
    "The reference neither evaluates nor saves here; Shardline evaluates on a tenth of the rows twice, saves and reports.",
)


def main() -> None:
    asked = parse_arguments()
    results, seconds = {}, {}
    for number in asked.jobs:
        job = JOBS[number - 1]
        if asked.quick:
            job = replace(job, num_rows=10 * job.shape["batch"])
        print(f"\n{job.name}", flush=True)
        results[job.name] = _measured(job, asked, seconds)
    full = {"rounds": asked.rounds, "scale": asked.scale, "full": asked.full, "quick": asked.quick}
    print(json.dumps({"benchmark": "walkthrough", **full, "differences": DIFFERENCES, "jobs": results}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlrm", type=Path, help="a checkout of facebookresearch/dlrm")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 3, 4], help="which of the four jobs")
    parser.add_argument("--rounds", type=int, default=3, help="times that both are measured in turn")
    parser.add_argument("--scale", type=float, default=1.0, help="run this part of the usual shares of the rows")
    parser.add_argument(
        "--full", action="store_true", help="all rows for both, nothing drawn out: over an hour a round"
    )
    parser.add_argument("--quick", action="store_true", help="ten steps of each, to see that everything works")
    return parser.parse_args()


def _measured(job: Job, asked: argparse.Namespace, seconds: dict[Any, float]) -> dict[str, Any]:
    """Times of both; `seconds` keeps what each command took in each round, for jobs that share it."""
    checkout: Path | None = asked.dlrm
    ours, theirs = _sizes(job, asked)
    times: dict[str, dict[int, list[float]]] = {"shardline": {}, "dlrm_s_pytorch": {}}
    with tempfile.TemporaryDirectory() as name:
        runs = [("shardline", rows, _our_command(job, rows, name), Path()) for rows in ours]
        if checkout is not None and checkout.exists():
            runs += [("dlrm_s_pytorch", rows, _their_command(job, rows, checkout), Path(name)) for rows in theirs]
        else:
            print(f"dlrm_s_pytorch skipped: {checkout or 'not named (see --help)'}")
        for round_ in range(asked.rounds):
            for who, rows, command, folder in runs:
                key = (who, str(job.shape), job.epochs, rows, round_)
                if key not in seconds:
                    seconds[key] = _seconds(command, folder)
                times[who].setdefault(rows, []).append(seconds[key])
    return _result(job, times)


def _sizes(job: Job, asked: argparse.Namespace) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if asked.full or asked.quick:
        return (job.num_rows,), (job.num_rows,)
    ours, theirs = (tuple(round(rows * asked.scale) for rows in shares) for shares in (job.ours, job.theirs))
    return (ours[1:] if ours[1] == job.num_rows else ours), theirs


def _our_command(job: Job, num_rows: int, runs_dir: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pipeline",
        "train",
        *shardline_settings(job.shape),
        f"--data.random.num_rows={num_rows}",
        f"--data.random.num_lookups=[{NUM_LOOKUPS}]",
        "--data.random.fixed_num_lookups=false",
        f"--training.num_epochs={job.epochs}",
        "--training.log_every_steps=1000",
        f"--runs_dir={runs_dir}",
    ]


def _their_command(job: Job, num_rows: int, checkout: Path) -> list[str]:
    options = {
        **dlrm_s_options(job.shape),
        "data-size": num_rows,
        "nepochs": job.epochs,
        "num-indices-per-lookup": NUM_LOOKUPS,
        "print-freq": 1000,
    }
    script = str((checkout / "dlrm_s_pytorch.py").absolute())
    return [sys.executable, script, "--print-time", *(f"--{key}={value}" for key, value in options.items())]


def _seconds(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def _result(job: Job, times: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    found: dict[str, Any] = {"num_rows": job.num_rows, "epochs": job.epochs, "goal": job.goal}
    totals = {}
    for name, by_rows in times.items():
        if not by_rows:
            continue
        totals[name] = [
            _total(job.num_rows, dict(zip(by_rows, each, strict=True))) for each in zip(*by_rows.values(), strict=True)
        ]
        is_measured = job.num_rows in by_rows
        found[name] = {
            "seconds": spread(totals[name]),
            "is_measured": is_measured,
            "runs": {str(rows): spread(seconds) for rows, seconds in by_rows.items()},
        }
        runs = ", ".join(f"{rows:,} rows {statistics.median(seconds):.1f} s" for rows, seconds in by_rows.items())
        kind = "measured" if is_measured else "drawn out from the runs"
        print(f"{name:<16} {found[name]['seconds']['median']:8.1f} s in all, {kind} ({runs})", flush=True)
    if len(totals) == 2:
        found["ratio"] = spread([b / a for a, b in zip(*totals.values(), strict=True)])
        met = "met" if found["ratio"]["median"] >= job.goal else "MISSED"
        print(f"{'times faster':<16} {found['ratio']['median']:8.1f}   goal {job.goal:g}: {met}", flush=True)
    return found


def _total(num_rows: int, seconds: dict[int, float]) -> float:
    """Seconds for all rows: measured, or on the line through the two runs."""
    if num_rows in seconds:
        return seconds[num_rows]
    (few, few_s), (many, many_s) = sorted(seconds.items())
    return many_s + (many_s - few_s) / (many - few) * (num_rows - many)


if __name__ == "__main__":
    main()
