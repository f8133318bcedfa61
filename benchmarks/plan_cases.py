"""Plans measured in pieces: what a ledger has already is not measured again, and a piece ends when its minutes are over."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.calibrating.calibrator import Bench, Measured, measure_workload, plan_workload
from pipeline.calibrating.probe_task import Workload
from pipeline.ranks import Ranks
from sharding_plans.comparing.truth import torchrec_parts
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_file import load, save
from sharding_plans.measuring.ledger import append, read
from sharding_plans.measuring.measurement import Measurement
from sharding_plans.strategies.strategies import Strategy


@dataclass(frozen=True)
class Cases:
    """A workload's tables, and how strategies lay them out; all of them are live at once."""

    workload: Workload
    strategies: dict[str, Strategy]
    """By the name under which the plan goes into the ledger."""


def deadline(ranks: Ranks, minutes: float) -> Callable[[], bool]:
    """Whether so many minutes are over, by rank 0's clock; a collective."""
    end = time.monotonic() + 60 * minutes
    return lambda: ranks.on_zero(lambda: time.monotonic() > end)


def measure_cases(bench: Bench, cases: Sequence[Cases], ledger: Path, is_over: Callable[[], bool]) -> bool:
    """Measure the cases that the ledger does not have, beside what TorchRec estimates; False where time was over before; a
    collective. Cases that come twice are measured twice. Plans are kept in `plans/` beside the ledger."""
    ranks = bench.ranks
    done = ranks.on_zero(lambda: [each.plan_name for each in read(ledger)[0] if each.num_ranks == ranks.num_ranks])
    for each in cases:
        if all(name in done for name in each.strategies):
            for name in each.strategies:
                done.remove(name)
            continue
        if is_over():
            return False
        plans = {name: plan_workload(bench, each.workload, strategy) for name, strategy in each.strategies.items()}
        found = measure_workload(bench, each.workload, plans)
        if ranks.is_zero:
            _keep(plans, found, ledger)
    return True


def measured_cases(ledger: Path, num_ranks: int) -> list[Measured]:
    """The plans and measurements that the ledger has for so many ranks; of a plan's measurements the least disturbed one, in
    which the embedding part took least."""
    best: dict[str, Measurement] = {}
    for each in read(ledger)[0]:
        if each.num_ranks == num_ranks:
            best[each.plan_name] = min(best.get(each.plan_name, each), each, key=lambda one: one.embedding_ms)
    return [(measured_plan(ledger, each), each) for each in best.values()]


def measured_plan(ledger: Path, record: Measurement) -> PlanFile:
    """The plan of a record of the ledger."""
    return load(_plan_path(ledger, record))


def _keep(plans: dict[str, PlanFile], found: list[Measurement], ledger: Path) -> None:
    for plan, measurement in zip(plans.values(), found, strict=True):
        save(plan, _plan_path(ledger, measurement))
        append(ledger, replace(measurement, estimates={"torchrec": torchrec_parts(plan)}))
        whole = f", {measurement.step_p50_ms:9.2f} ms a step" if measurement.step_p50_ms else ""
        print(f"{measurement.plan_name:45}{measurement.embedding_ms:9.2f} ms embedding part{whole}", flush=True)


def _plan_path(ledger: Path, record: Measurement) -> Path:
    """By the batch too: a plan's fingerprint tells layouts apart, and its estimates are those for a batch."""
    return ledger.parent / "plans" / f"{record.plan_fingerprint}-{record.global_batch_size}.json"
