"""How far a training step is from what this machine can do at all: python -m benchmarks.roofline

Found first: the matrix product that is this machine's fastest (of several sizes and layouts, fp32 and bf16), and its memory's
bandwidth. From these peaks and the model's own arithmetic comes the least time that a step can take, part by part:

- dense forward and backward: the floating-point operations of the arch's matrix products, counted by PyTorch, over the peak;
- lookup and table backward: bytes of the distinct rows read and written, and of the pooled vectors and their gradients, over
  the bandwidth;
- dense optimizer: bytes of weights and gradients over the bandwidth.

Parts take turns on the same cores, so the step's bound is their sum; whatever else a step does (activations, copies, Python)
has no bound and counts as loss: 100 % would be a step of nothing but perfect products and copies.

A step, whole and by part (`pipeline.measuring`), and the peaks are then measured in turn, and each step is compared with the
bound by the peaks of its own second; medians are printed. A machine that other work disturbs slows both: beside the best peak
that it ever showed, a step of an ordinary moment would look worse than it is. That quotient is printed too. On a GPU the same,
by CUDA events. The last line is one line of JSON.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.live_job import LiveJob, live_job, train_config
from benchmarks.peaks import SIZES, Peak, machine_peaks
from benchmarks.throughput import DLRM, QUICK, shardline_settings
from data.batch import Batch
from data.errors import ConfigError
from data.generating.random_rows import random_schema
from models.build import build_ranker
from models.card import model_card
from pipeline.config import TrainConfig
from pipeline.ranks import Ranks, joined_ranks
from sharding_plans.measuring.measurement import PARTS
from sharding_plans.planning.quiet import quiet_torchrec

GOAL = 0.6
WAYS = {"fp32": [], "fp32 compiled": ["--training.compile=true"], "bf16": ["--training.precision=bf16"]}
LONGEST_STEP_S = 1.0
SHORT_S = 0.05
"""How long a peak is measured between two steps."""
TABLE_PARTS, DENSE_PARTS = ("lookup", "table_backward"), ("dense_forward", "dense_backward")


@dataclass(frozen=True)
class Work:
    """What a step has to do at least, by part: floating-point operations of matrix products, and bytes moved."""

    flops: dict[str, int]
    moved: dict[str, int]
    gemm: str
    """Name of the peak that the products are held to."""

    def bounds_ms(self, peaks: Mapping[str, float]) -> dict[str, float]:
        """The least milliseconds of each part on a machine of such peaks."""
        products = {part: flops / (peaks[self.gemm] * 1e6) for part, flops in self.flops.items()}
        return products | {part: size / (peaks["copy_gb_per_s"] * 1e6) for part, size in self.moved.items()}


@dataclass(frozen=True)
class Round:
    """Milliseconds of a whole step, of the parts of a cut one, and of their bounds by the peaks measured just after them."""

    whole: float
    parts: dict[str, float]
    bounds: dict[str, float]


def main() -> None:
    asked = parse_arguments()
    shape = {**(QUICK if asked.quick else DLRM), "batch": asked.batch}
    with joined_ranks(asked.device) as ranks:
        peaks = machine_peaks(ranks.device, sizes=SIZES[:1] if asked.quick else SIZES)
        machine = {name: peak.rate() for name, peak in peaks.items()}
        print(f"{ranks.device.type}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
        for name, value in machine.items():
            print(f"  {name:<24} {value:10,.1f}")
        steps = _steps(asked, ranks, shape, peaks, machine)
    print(
        json.dumps(
            {"benchmark": "roofline", "batch": asked.batch, "quick": asked.quick, "machine": machine, "steps": steps}
        )
    )


def _steps(
    asked: argparse.Namespace,
    ranks: Ranks,
    shape: dict[str, Any],
    peaks: Mapping[str, Peak],
    machine: Mapping[str, float],
) -> dict[str, Any]:
    """What is measured of each way of training; one that needs what is not here is left out, saying so."""
    steps = {}
    for name in asked.ways:
        config = _affordable(shape, WAYS[name], asked.device, machine)
        try:
            job = live_job(config, ranks)
        except ConfigError as error:  # no compiler, or a GPU
            print(f"\n{name}: skipped. {error}", flush=True)
            continue
        steps[name] = step_fractions(job, peaks, machine, asked.steps)
        print_step(name, steps[name])
        del job
    return steps


def _affordable(shape: dict[str, Any], way: list[str], device: str, machine: Mapping[str, float]) -> TrainConfig:
    """The job, its batch halved until the products of a step take no more than LONGEST_STEP_S at this machine's peak."""
    batch = shape["batch"]
    while True:
        settings = shardline_settings({**shape, "batch": batch})
        config = train_config([*settings, *way, f"--device={device}"])
        flops = sum(arch_flops(config).values()) * batch
        if flops / machine[_gemm(config)] / 1e9 <= LONGEST_STEP_S or batch <= 64:
            return config
        batch //= 2


def _gemm(config: TrainConfig) -> str:
    """The peak of matrix products in the precision of the job."""
    return f"gemm_{config.training.precision}_gflop_per_s"


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


def step_fractions(job: LiveJob, peaks: Mapping[str, Peak], machine: Mapping[str, float], steps: int) -> dict[str, Any]:
    """The bound and the measured time of a step and of each of its parts, in ms, and their quotient: medians of the rounds.

    `fraction_of_best`: of the bound by `machine`, peaks of another time.
    """
    work, batch = step_work(job), job.config.training.global_batch_size
    found = medians(_measured(job, peaks, work, steps))
    return {
        **found,
        "batch": batch,
        "fraction_of_best": sum(work.bounds_ms(machine).values()) / found["ms"],
        "goal": GOAL,
        "samples_per_s": 1000 * batch / found["ms"],
        "gflop_per_s": sum(work.flops.values()) / found["ms"] / 1e6,
    }


def medians(rounds: Sequence[Round]) -> dict[str, Any]:
    """Of the whole steps and of each part: the bound, the time, and the quotient of the two in the same round."""
    return {
        "bound_ms": median(sum(each.bounds.values()) for each in rounds),
        "ms": median(each.whole for each in rounds),
        "fraction": median(sum(each.bounds.values()) / each.whole for each in rounds),
        "parts": {part: _part(part, rounds) for part in PARTS},
    }


def _part(part: str, rounds: Sequence[Round]) -> dict[str, float | None]:
    times = [each.parts.get(part, 0.0) for each in rounds]
    bounds = [each.bounds.get(part, 0.0) for each in rounds]
    fractions = [bound / ms for bound, ms in zip(bounds, times, strict=True) if ms]
    return {"bound_ms": median(bounds), "ms": median(times), "fraction": median(fractions) if fractions else None}


def step_work(job: LiveJob) -> Work:
    """What a step of this job has to do at least."""
    card, batch = model_card(job.config.model, job.schema), job.batches[0]
    flops = {part: each * len(batch.labels) for part, each in arch_flops(job.config).items()}
    weights = 3 * 4 * card.dense_parameters  # gradients are read, weights read and written
    moved = {**table_bytes(job, batch), "dense_optimizer": weights}
    return Work(flops, moved, _gemm(job.config))


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


def _measured(job: LiveJob, peaks: Mapping[str, Peak], work: Work, steps: int) -> list[Round]:
    """A whole step, the parts of a cut one, and the peaks, in turn."""
    rounds = []
    with quiet_torchrec():
        for step in range(steps + 3):
            batch = job.batches[step % len(job.batches)]
            whole, parts = job.live.whole_step_ms(batch), job.live.parts_ms(batch)
            now = {name: peaks[name].rate(SHORT_S) for name in (work.gemm, "copy_gb_per_s")}
            rounds.append(Round(whole, parts, work.bounds_ms(now)))
    return rounds[3:]


def print_step(name: str, found: dict[str, Any]) -> None:
    reached = (
        f"{found['fraction']:.0%} of the bound reached ({found['fraction_of_best']:.0%} of that by the peaks above)"
    )
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
