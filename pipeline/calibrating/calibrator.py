"""Probing a machine on its live ranks, and fitting the cost model to what was measured."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pipeline.calibrating.collectives import time_collectives
from pipeline.calibrating.probe_task import Workload, probe_batches, probe_tables, probe_task
from pipeline.calibrating.probes import Probe
from pipeline.config import OptimizerConfig, TrainConfig, TrainingConfig
from pipeline.measuring.plan_measurement import Steps, measure_by_turns
from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.ranks import Ranks
from sharding_plans.calibrating.calibration import Calibration, Costs
from sharding_plans.calibrating.fitting import Sample, errors, fit
from sharding_plans.files.calibrated import plan_loads
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import installed_versions
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.machines.identity import machine_facts
from sharding_plans.measuring.measurement import EMBEDDING_PARTS, Measurement
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy

CACHE_MIB = 16.0
"""A rank's share of the last cache, roughly: tables beyond it are looked up in memory."""

Measured = tuple[PlanFile, Measurement]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all plans are measured with."""

    ranks: Ranks
    hardware: HardwareProfile
    optimizer: SparseOptimizerConfig
    steps: Steps
    num_batches: int = 4


def measure_probes(bench: Bench, probes: Iterable[Probe], on_done: Callable[[], Any] | None = None) -> list[Measured]:
    """Every probe planned and measured; a collective."""
    found = []
    for probe in probes:
        names = probe_tables(probe.workload, bench.optimizer).names
        plan = plan_workload(bench, probe.workload, probe.strategy(names))
        found.append((plan, measure_workload(bench, probe.workload, {probe.name: plan})[0]))
        if on_done is not None:
            on_done()
    return found


def plan_workload(bench: Bench, workload: Workload, strategy: Strategy) -> PlanFile:
    """The workload's plan by a strategy, made on rank 0 for all; a collective."""
    request = PlanRequest(
        model=probe_tables(workload, bench.optimizer),
        hardware=bench.hardware,
        num_ranks=bench.ranks.num_ranks,
        global_batch_size=workload.global_batch_size,
        strategy=strategy,
    )
    return bench.ranks.on_zero(lambda: make_plan_file(request))


def measure_workload(bench: Bench, workload: Workload, plans: Mapping[str, PlanFile]) -> list[Measurement]:
    """The plans measured by turns with the workload's tables and ids; a collective."""
    ranks = bench.ranks
    return measure_by_turns(
        plans,
        lambda: probe_task(workload, bench.optimizer, ranks.device.type),
        probe_batches(workload, ranks.rank, ranks.num_ranks, bench.num_batches),
        workload_config(bench, workload),
        ranks,
        bench.steps,
        data={"source": "random", "skew": workload.skew, "workload": workload.name},
    )


def workload_config(bench: Bench, workload: Workload) -> TrainConfig:
    """What of a training job's settings measuring reads."""
    return TrainConfig(
        optimizer=OptimizerConfig(sparse=bench.optimizer),
        training=TrainingConfig(global_batch_size=workload.global_batch_size),
    )


def fit_costs(measured: Iterable[Measured], cores: int) -> tuple[Costs, dict[str, float]]:
    """The costs that explain the measurements best, and by part the median relative error that is left."""
    samples: dict[str, list[Sample]] = {part: [] for part in EMBEDDING_PARTS}
    for plan, measurement in measured:
        for part, by_rank in plan_loads(plan, CACHE_MIB).items():
            samples[part].append(Sample(by_rank, measurement.slowest_ms[part]))
    costs = fit(samples, cores)
    left = {part: median(map(abs, errors(of_part, costs[part], cores))) for part, of_part in samples.items()}
    return costs, left


def calibrated_profile(
    bench: Bench, measured: list[Measured], before: HardwareProfile | None = None
) -> HardwareProfile:
    """The machine's profile with the costs fitted for the live number of ranks, beside those that `before` has for others.

    A collective. TorchRec's own figures of bandwidth in the profile become those measured of its process group.
    """
    ranks, cores = bench.ranks, int(machine_facts()["cores"])
    costs, left = fit_costs(measured, cores)
    collectives = time_collectives(ranks.device) if ranks.num_ranks > 1 else {}
    known: dict[str, Any] = (before.calibration if before is not None else None) or {}
    key = str(ranks.num_ranks)
    calibration = Calibration(
        cores=cores,
        cache_mib=CACHE_MIB,
        costs={**known.get("costs", {}), key: costs},
        collectives={**known.get("collectives", {}), key: collectives},
        origin={**known.get("origin", {}), key: _origin(bench, measured, left)},
    )
    gb_per_s = collectives.get("all_to_all", {}).get("gb_per_s", bench.hardware.intra_host_gb_per_s)
    return replace(
        bench.hardware,
        description=f"calibrated for {', '.join(sorted(calibration.costs, key=int))} ranks: {machine_facts()['processor']}",
        intra_host_gb_per_s=gb_per_s,
        inter_host_gb_per_s=gb_per_s,
        calibration=vars(calibration),
    )


def _origin(bench: Bench, measured: list[Measured], left: dict[str, float]) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(),
        "versions": dict(installed_versions()),
        "optimizer": bench.optimizer.algorithm,
        "plans_fitted_to": [plan.fingerprint for plan, _ in measured],
        "median_error_left": {part: round(error, 4) for part, error in left.items()},
    }
