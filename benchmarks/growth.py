"""How time and memory of a training step grow: python -m benchmarks.growth

One thing grows at a time, by doubling (tables' rows, batch, tables, dimension, ids a bag) or through 1, 2 and 4 ranks; the rest
stays as it is. Every point is a process of its own that trains DLRM on random data: the median milliseconds of a step, and the
memory that the process took for the model and its steps. A power law is fitted to each curve by least squares in logarithms:
an exponent of 1 says that twice as much costs twice as much. Ranks share this machine's cores, so what more ranks show here is
the cost of sharing the work out, not a gain.

Then, plainly marked, a projection: an epoch of Criteo 1TB with MLPerf's DLRM-DCNv2 on 8 and 128 H100s, by the estimates of
TorchRec's cost model for the plans and the data sheet's peak for the products. Nothing of it was measured.

The last line is one line of JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.live_job import live_job, train_config
from benchmarks.live_ranks import on_ranks
from benchmarks.roofline import arch_flops
from benchmarks.throughput import shardline_settings
from pipeline.ranks import Ranks, peak_rss_gib
from sharding_plans.planning.quiet import quiet_torchrec

BASE: dict[str, Any] = {
    "num_tables": 16,
    "table_rows": 50_000,
    "dim": 32,
    "lookups": 1,
    "batch": 1024,
    "ranks": 1,
}
AXES: dict[str, tuple[int, ...]] = {
    "table_rows": (25_000, 50_000, 100_000, 200_000, 400_000),
    "batch": (512, 1024, 2048, 4096, 8192),
    "num_tables": (8, 16, 32, 64, 128),
    "dim": (16, 32, 64, 128, 256),
    "lookups": (1, 2, 4, 8, 16),
    "ranks": (1, 2, 4),
}
QUICK_BASE = {"num_tables": 3, "table_rows": 100, "dim": 4, "batch": 64}
TITLES = {
    "table_rows": "rows of a table",
    "batch": "rows of a step",
    "num_tables": "tables",
    "dim": "embedding dimension",
    "lookups": "ids a bag",
    "ranks": "ranks (sharing the cores)",
}
CRITEO_1TB_ROWS, CRITEO_BATCH = 4_195_197_692, 65_536
H100_FP32_TFLOP_PER_S = 67.0  # NVIDIA H100 data sheet, SXM, FP32 outside the tensor cores
CLUSTERS = (8, 128)
PROJECTED_CONFIG = "pipeline/configs/mlperf_dlrm_dcnv2.yaml"


def main() -> None:
    asked = parse_arguments()
    base = {**BASE, **(QUICK_BASE if asked.quick else {})}
    curves = {}
    for axis in asked.axes:
        sizes = _quick_sizes(axis, base) if asked.quick else AXES[axis][: asked.points]
        points = [{"size": size, **measured({**base, axis: size}, asked.steps)} for size in sizes]
        curves[axis] = {"points": points, **_exponents(points)}
        _print(axis, curves[axis])
    projection = {} if asked.no_projection else projected()
    settings = {"base": base, "steps": asked.steps, "quick": asked.quick}
    print(json.dumps({"benchmark": "growth", **settings, "curves": curves, "projection": projection}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=AXES, help="what is to grow")
    parser.add_argument("--points", type=int, default=5, help="the first so many sizes of each")
    parser.add_argument("--steps", type=int, default=20, help="steps measured of each point")
    parser.add_argument("--no-projection", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that everything works")
    return parser.parse_args()


def _quick_sizes(axis: str, base: Mapping[str, int]) -> tuple[int, ...]:
    return (1, 2) if axis == "ranks" else (base[axis], 2 * base[axis])


def measured(point: Mapping[str, int], steps: int) -> dict[str, float]:
    """Median ms of a step (of the slowest rank), and MiB that the fullest rank's process took."""
    return on_ranks(point["ranks"], _steps_of, settings_of(point), steps)


def settings_of(point: Mapping[str, int]) -> list[str]:
    """Settings of `shardline train` for a point."""
    shape = {
        "num_dense": 13,
        "tables": [point["table_rows"]] * point["num_tables"],
        "dim": point["dim"],
        "dense_arch": [256, point["dim"]],
        "over_arch": [256, 128, 1],
        "batch": point["batch"],
    }
    threads = "--training.threads_per_rank=1"
    return [*shardline_settings(shape), f"--data.random.num_lookups=[{point['lookups']}]", threads, "--device=cpu"]


def _steps_of(ranks: Ranks, settings: list[str], steps: int) -> dict[str, float]:
    before = peak_rss_gib()
    job = live_job(train_config(settings), ranks)
    with quiet_torchrec():
        found = [job.live.whole_step_ms(job.batches[step % len(job.batches)]) for step in range(steps + 3)]
    return {
        "step_ms": ranks.largest(median(found[3:])),
        "memory_mib": ranks.largest(1024 * (peak_rss_gib() - before)),
    }


def _exponents(points: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Exponents of the fitted power laws, of all sizes and of the two largest alone."""
    return {f"{kind}_exponent": _slope(points, kind) for kind in ("step_ms", "memory_mib")} | {
        f"{kind}_last_exponent": _slope(points[-2:], kind) for kind in ("step_ms", "memory_mib")
    }


def _slope(points: Sequence[Mapping[str, float]], kind: str) -> float:
    sizes, values = np.log([each["size"] for each in points]), np.log([max(each[kind], 1e-3) for each in points])
    return float(np.polyfit(sizes, values, 1)[0])


def projected() -> dict[str, Any]:
    """An epoch of Criteo 1TB by the estimates of the plans: hours by number of GPUs, and what they are made of."""
    found: dict[str, Any] = {}
    print("\nPROJECTION, not measured: Criteo 1TB, DLRM-DCNv2, by the estimates of the cost model")
    for num_gpus in CLUSTERS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "plan.json"
            options = [
                f"--config={PROJECTED_CONFIG}",
                "--hardware=h100_sxm_80gb",
                f"--ranks={num_gpus}",
                f"--out={out}",
            ]
            subprocess.run([sys.executable, "-m", "pipeline", "plan", *options], check=True, capture_output=True)
            plan = json.loads(out.read_text())
        found[str(num_gpus)] = each = _epoch(plan["step_ms"], num_gpus)
        print(
            f"  {num_gpus:>3} x H100: {each['hours']:.2f} h an epoch; a step {each['embedding_ms']:.2f} ms of tables and their"
            f" collectives, {each['dense_ms']:.2f} ms of products at the data sheet's fp32 peak"
        )
    return found


def _epoch(embedding_ms: float, num_gpus: int) -> dict[str, float]:
    """Tables' estimate and products at their peak, one after the other; steps of the whole train split."""
    steps = CRITEO_1TB_ROWS // CRITEO_BATCH
    flops = sum(arch_flops(train_config([f"--config={PROJECTED_CONFIG}"])).values()) * CRITEO_BATCH / num_gpus
    dense_ms = flops / (H100_FP32_TFLOP_PER_S * 1e9)
    hours = steps * (embedding_ms + dense_ms) / 3.6e6
    return {"embedding_ms": embedding_ms, "dense_ms": dense_ms, "steps": steps, "hours": hours}


def _print(axis: str, curve: Mapping[str, Any]) -> None:
    print(f"\n{TITLES[axis]:<28}{'step ms':>10}{'memory MiB':>12}")
    for point in curve["points"]:
        print(f"{point['size']:>28,}{point['step_ms']:10.2f}{point['memory_mib']:12.0f}")
    print(
        f"{'exponent (two largest)':<28}{curve['step_ms_exponent']:5.2f}{curve['step_ms_last_exponent']:6.2f}"
        f"{curve['memory_mib_exponent']:7.2f}{curve['memory_mib_last_exponent']:6.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
