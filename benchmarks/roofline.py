"""How far a training step is from what this machine can do at all: python -m benchmarks.roofline

Measured first: the machine's peak in matrix products (the best of several sizes, fp32 and bf16) and its memory bandwidth. From
these and the model's own arithmetic comes the least time that a step can take, part by part:

- dense forward and backward: the floating-point operations of the arch's matrix products, counted by PyTorch, over the peak;
- lookup and table backward: bytes of the distinct rows read and written, and of the pooled vectors and their gradients, over
  the bandwidth;
- dense optimizer: bytes of weights and gradients over the bandwidth.

Parts take turns on the same cores, so the step's bound is their sum; whatever else a step does (activations, copies, Python)
has no bound and counts as loss. The step is then measured, whole and by part (`pipeline.measuring`), and the fraction of the
bound that each part reaches is printed: 100 % would be a step of nothing but perfect products and copies. On a GPU the same,
by CUDA events. The last line is one line of JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.live_job import LiveJob, live_job, train_config
from benchmarks.throughput import DLRM, QUICK, shardline_settings
from data.batch import Batch
from data.errors import ConfigError
from data.generating.random_rows import random_schema
from models.build import build_ranker
from models.card import model_card
from models.layer_products import input_gradient, parameter_gradients
from pipeline.config import TrainConfig
from pipeline.measuring.marks import Marks
from pipeline.ranks import Ranks, joined_ranks
from sharding_plans.measuring.measurement import PARTS
from sharding_plans.planning.quiet import quiet_torchrec

GOAL = 0.6
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAYS = {"fp32": [], "fp32 compiled": ["--training.compile=true"], "bf16": ["--training.precision=bf16"]}
SIZES = (256, 512, 1024, 2048, 4096)
LONGEST_PRODUCT_S, LONGEST_STEP_S = 2.0, 1.0
TABLE_PARTS, DENSE_PARTS = ("lookup", "table_backward"), ("dense_forward", "dense_backward")


def main() -> None:
    asked = parse_arguments()
    shape = {**(QUICK if asked.quick else DLRM), "batch": asked.batch}
    with joined_ranks(asked.device) as ranks:
        machine = machine_peaks(ranks.device, sizes=SIZES[:1] if asked.quick else SIZES)
        print(f"{ranks.device.type}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
        for name, value in machine.items():
            print(f"  {name:<24} {value:10,.1f}")
        steps = _steps(asked, ranks, shape, machine)
    print(
        json.dumps(
            {"benchmark": "roofline", "batch": asked.batch, "quick": asked.quick, "machine": machine, "steps": steps}
        )
    )


def _steps(asked: argparse.Namespace, ranks: Ranks, shape: dict[str, Any], machine: dict[str, float]) -> dict[str, Any]:
    """What is measured of each way of training; one that needs what is not here is left out, saying so."""
    steps = {}
    for name in asked.ways:
        config = _affordable(shape, WAYS[name], asked.device, machine)
        try:
            job = live_job(config, ranks)
        except ConfigError as error:  # no compiler, or a GPU
            print(f"\n{name}: skipped. {error}", flush=True)
            continue
        steps[name] = step_fractions(job, machine, asked.steps)
        print_step(name, steps[name])
        del job
    return steps


def _affordable(shape: dict[str, Any], way: list[str], device: str, machine: dict[str, float]) -> TrainConfig:
    """The job, its batch halved until the products of a step take no more than LONGEST_STEP_S at this machine's peak."""
    batch = shape["batch"]
    while True:
        settings = shardline_settings({**shape, "batch": batch})
        config = train_config([*settings, *way, f"--device={device}"])
        flops = sum(arch_flops(config).values()) * batch
        if flops / _peak(machine, config) / 1e9 <= LONGEST_STEP_S or batch <= 64:
            return config
        batch //= 2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8192, help="rows of a step")
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), choices=WAYS, help="of training: precision, compiled or not"
    )
    parser.add_argument("--steps", type=int, default=15, help="steps measured whole, and as many by part, in turn")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that everything works")
    return parser.parse_args()


def machine_peaks(device: torch.device, sizes: tuple[int, ...] = SIZES) -> dict[str, float]:
    """GFLOP/s of the best square matrix product in each precision, GB/s of a copy (bytes read and written)."""
    peaks = {f"gemm_{name}_gflop_per_s": _gemm_peak(sizes, dtype, device) for name, dtype in DTYPES.items()}
    return {**peaks, "copy_gb_per_s": _copy(device)}


def _gemm_peak(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> float:
    """The best of the sizes, as far up as the slowest way of multiplying takes no more than LONGEST_PRODUCT_S."""
    best, slowest_ms = 0.0, 0.0
    for before, size in zip((sizes[0], *sizes), sizes, strict=False):
        if slowest_ms * (size / before) ** 3 > 1000 * LONGEST_PRODUCT_S:
            break  # a processor without instructions for this type
        ms = _gemm_ms(size, dtype, device)
        best, slowest_ms = max(best, 2 * size**3 / min(ms) / 1e6), max(ms)
    return best


def _gemm_ms(size: int, dtype: torch.dtype, device: torch.device) -> list[float]:
    """Of the three layouts that a layer uses forward and backward, and of what layers use in place of `mm`."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=dtype)
    pairs = ((left, right), (left, right.t()), (left.t(), right))
    ways = [partial(torch.mm, *pair, out=out) for pair in pairs]
    ways += [partial(input_gradient, left, right), partial(parameter_gradients, left, right, left, has_bias=False)]
    return [_best_ms(way, device) for way in ways]


def _peak(machine: dict[str, float], config: TrainConfig) -> float:
    """GFLOP/s of matrix products in the precision of the job."""
    return machine[f"gemm_{config.training.precision}_gflop_per_s"]


def _copy(device: torch.device) -> float:
    """Of two arrays of 256 MiB each, which no cache holds."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / _best_ms(lambda: target.copy_(source), device) / 1e6


def _best_ms(call: Callable[[], Any], device: torch.device, seconds: float = 0.5) -> float:
    """The shortest of the calls that fit in the time: a peak is what a machine can do undisturbed."""
    marks, best, began = Marks(device), float("inf"), time.perf_counter()
    call()
    for repeat in range(1000):
        marks.start()
        call()
        marks.end("call")
        best = min(best, marks.read()["call"])
        if repeat >= 2 and time.perf_counter() - began > seconds:
            break
    return best


def step_fractions(job: LiveJob, machine: dict[str, float], steps: int) -> dict[str, Any]:
    """The bound and the measured median of a step and of each of its parts, in ms, and their quotient."""
    whole, parts = _measured(job, steps)
    bounds = bounds_ms(job, machine)
    by_part = {
        part: {"bound_ms": bounds.get(part, 0.0), "ms": ms, "fraction": bounds.get(part, 0.0) / ms if ms else None}
        for part, ms in parts.items()
    }
    bound = sum(bounds.values())
    flops = arch_flops(job.config)
    return {
        "batch": job.config.training.global_batch_size,
        "bound_ms": bound,
        "ms": whole,
        "fraction": bound / whole,
        "goal": GOAL,
        "samples_per_s": 1000 * job.config.training.global_batch_size / whole,
        "gflop_per_s": sum(flops.values()) * len(job.batches[0].labels) / whole / 1e6,
        "parts": by_part,
    }


def bounds_ms(job: LiveJob, machine: dict[str, float]) -> dict[str, float]:
    """The least milliseconds of each part that has a bound."""
    rows, card = len(job.batches[0].labels), model_card(job.config.model, job.schema)
    peak = _peak(machine, job.config) * 1e6
    moved = table_bytes(job, job.batches[0])
    bounds = {part: flops * rows / peak for part, flops in arch_flops(job.config).items()}
    bounds |= {part: size / (machine["copy_gb_per_s"] * 1e6) for part, size in moved.items()}
    weights = 3 * 4 * card.dense_parameters  # gradients are read, weights read and written
    return {**bounds, "dense_optimizer": weights / (machine["copy_gb_per_s"] * 1e6)}


def arch_flops(config: TrainConfig) -> dict[str, int]:
    """Floating-point operations of the arch's matrix products for a row of random data, forward and backward.

    A multiply-add is two. The gradient of what comes in is counted for embeddings, and not for the dense features.
    """
    schema, num_rows = random_schema(config.data.random), 2
    ranker = build_ranker(config.model, schema)
    width = sum(table.embedding_dim * len(table.feature_names) for table in ranker.ebc.embedding_bag_configs())
    dense, pooled = torch.zeros(num_rows, len(schema.dense)), torch.zeros(num_rows, width, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        logits = ranker.arch(dense, [pooled])
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    counts = (forward.get_total_flops() // num_rows, backward.get_total_flops() // num_rows)
    return dict(zip(DENSE_PARTS, counts, strict=True))


def table_bytes(job: LiveJob, batch: Batch) -> dict[str, int]:
    """Bytes that looking up and updating must move: each distinct row once, each pooled vector and gradient once.

    (The accumulator of an Adagrad comes on top; plain SGD has none.)
    """
    tables = build_ranker(job.config.model, job.schema).ebc.embedding_bag_configs()
    dims = {feature: table.embedding_dim for table in tables for feature in table.feature_names}
    ids = batch.sparse.to_dict()
    rows = sum(4 * dims[name] * int(values.values().unique().numel()) for name, values in ids.items())
    pooled = sum(4 * dim * len(batch.labels) for dim in dims.values())
    return {"lookup": rows + pooled, "table_backward": pooled + 2 * rows}


def _measured(job: LiveJob, steps: int) -> tuple[float, dict[str, float]]:
    """Medians of a whole step and of the parts of a cut one, in ms, the two kinds of step in turn."""
    whole, cut = [], []
    with quiet_torchrec():
        for step in range(steps + 3):
            batch = job.batches[step % len(job.batches)]
            whole.append(job.live.whole_step_ms(batch))
            cut.append(job.live.parts_ms(batch))
    return median(whole[3:]), {part: median(each.get(part, 0.0) for each in cut[3:]) for part in PARTS}


def print_step(name: str, found: dict[str, Any]) -> None:
    reached = f"{found['fraction']:.0%} of the bound reached"
    print(
        f"\n{name}, batch {found['batch']}: bound {found['bound_ms']:.1f} ms, measured {found['ms']:.1f} ms, {reached}"
    )
    print(f"  {'part':<18}{'bound ms':>10}{'measured ms':>13}{'reached':>9}")
    for part, each in found["parts"].items():
        reached = f"{each['fraction']:.0%}" if each["bound_ms"] else "-"
        print(f"  {PARTS[part]:<18}{each['bound_ms']:10.2f}{each['ms']:13.2f}{reached:>9}")
    print(f"  goal {GOAL:.0%}: {'met' if found['fraction'] >= GOAL else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main()
