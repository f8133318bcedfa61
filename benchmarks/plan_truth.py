"""Do the estimates tell the truth? Seven models, thirteen plans of each, measured on live ranks beside two estimates.

    python -m benchmarks.plan_truth calibrate --ranks 2     # fit the cost model to this machine, by plans drawn at random
    python -m benchmarks.plan_truth measure --ranks 2       # the models' plans, each twice; none was used to fit
    python -m benchmarks.plan_truth show                    # the table: before and after calibration, and repeatability

Results go to artifacts/plan_truth/. Run it on a machine that does nothing else; `--minutes 4` does it in pieces: what was
measured is kept, and the next call goes on from there.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.live_ranks import on_ranks
from benchmarks.plan_cases import Cases, deadline, measure_cases, measured_cases, measured_plan
from benchmarks.plan_models import MODELS, plans_of
from pipeline.calibrating.calibrator import Bench, calibrated_profile
from pipeline.calibrating.probe_task import Workload, probe_tables
from pipeline.calibrating.probes import probes
from pipeline.measuring.plan_measurement import Steps
from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.ranks import Ranks
from sharding_plans.files.scored_plans import score
from sharding_plans.machines.hardware import HardwareProfile, profile_to_dict, read_profile
from sharding_plans.machines.this_machine import measure_this_machine
from sharding_plans.measuring.agreement import agreement
from sharding_plans.measuring.ledger import read
from sharding_plans.measuring.measurement import EMBEDDING_PARTS, Measurement

OUT = Path("artifacts/plan_truth")
UNCALIBRATED, PROFILE = OUT / "uncalibrated.yaml", OUT / "this_machine.yaml"
LEDGER, PROBES = OUT / "ledger.jsonl", OUT / "probes.jsonl"
OPTIMIZER = SparseOptimizerConfig(algorithm="adagrad")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("calibrate", "measure", "show"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--probes", type=int, default=40, help="plans drawn at random to calibrate by")
    parser.add_argument("--models", type=int, nargs="+", default=range(len(MODELS)))
    parser.add_argument("--times", type=int, default=2, help="how often each plan and probe is measured")
    parser.add_argument(
        "--minutes", type=float, default=600, help="begin nothing later; the next call goes on from there"
    )
    asked = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if asked.what == "calibrate":
        on_ranks(asked.ranks, calibrate, asked.probes, asked.steps, asked.times, asked.minutes)
    elif asked.what == "measure":
        workloads = [MODELS[i] for i in asked.models] * asked.times
        on_ranks(asked.ranks, measure, workloads, asked.steps, asked.minutes)
    else:
        show()


def bench_of(ranks: Ranks, steps: int, hardware: HardwareProfile | None = None) -> Bench:
    """What plans are measured with; TorchRec's own figures of this machine unless told otherwise."""
    return Bench(
        ranks=ranks,
        hardware=hardware or ranks.on_zero(_uncalibrated),
        optimizer=OPTIMIZER,
        steps=Steps(warm=4, measured=steps),
    )


def calibrate(ranks: Ranks, num_random: int, steps: int, times: int, minutes: float) -> None:
    """Measure the probes so many times, then fit this machine's costs for so many ranks; others stay in the file."""
    bench = bench_of(ranks, steps)
    bench = replace(bench, steps=replace(bench.steps, is_uncut_wanted=False))
    cases = [*_probe_cases(ranks.num_ranks, num_random)] * times
    if not measure_cases(bench, cases, PROBES, deadline(ranks, minutes)):
        print("not all are measured yet: run it again to go on", flush=True)
        return
    measured = ranks.on_zero(lambda: measured_cases(PROBES, ranks.num_ranks))
    before = read_profile(PROFILE) if PROFILE.exists() else None
    profile = calibrated_profile(bench, measured, before)
    if ranks.is_zero:
        PROFILE.write_text(yaml.safe_dump(profile_to_dict(profile), sort_keys=False))
        print(f"{len(measured)} probes on {ranks.num_ranks} ranks -> {PROFILE}")


def measure(ranks: Ranks, workloads: Sequence[Workload], steps: int, minutes: float) -> None:
    """Measure every plan of the models, as often as the model comes."""
    cases = [_model_cases(workload, ranks.num_ranks) for workload in workloads]
    measure_cases(bench_of(ranks, steps), cases, LEDGER, deadline(ranks, minutes))


def _uncalibrated() -> HardwareProfile:
    """This machine as TorchRec's estimates see it, measured once."""
    if not UNCALIBRATED.exists():
        UNCALIBRATED.write_text(yaml.safe_dump(profile_to_dict(measure_this_machine("this-machine")), sort_keys=False))
    return read_profile(UNCALIBRATED)


def _model_cases(workload: Workload, num_ranks: int) -> Cases:
    strategies = plans_of(workload, num_ranks, probe_tables(workload, OPTIMIZER).names)
    return Cases(workload, {f"{workload.name}: {strategy.name}": strategy for strategy in strategies})


def _probe_cases(num_ranks: int, num_random: int) -> Iterator[Cases]:
    for probe in probes(num_ranks, num_random, seed=0):
        strategy = probe.strategy(probe_tables(probe.workload, OPTIMIZER).names)
        yield Cases(probe.workload, {probe.name: strategy})


def show() -> None:
    """The table, and the same as JSON."""
    records, problems = read(LEDGER)
    print(*problems, sep="\n")
    records = [_with_calibrated(each) for each in records]
    results: dict[str, Any] = {}
    for num_ranks in sorted({each.num_ranks for each in records}):
        plans = _by_plan([each for each in records if each.num_ranks == num_ranks])
        results[str(num_ranks)] = _judged(num_ranks, plans)
    (OUT / "plan_truth.json").write_text(json.dumps(results, indent=1))


def _with_calibrated(record: Measurement) -> Measurement:
    """The record with what the profile estimates for its plan."""
    plan = score(measured_plan(LEDGER, record), hardware=read_profile(PROFILE))
    assert plan.calibrated_ms is not None, f"{PROFILE} is not calibrated for {record.num_ranks} ranks"
    return replace(record, estimates={**record.estimates, "calibrated": plan.calibrated_ms})


def _by_plan(records: list[Measurement]) -> dict[str, list[Measurement]]:
    plans: dict[str, list[Measurement]] = {}
    for each in records:
        plans.setdefault(each.plan_name, []).append(each)
    return plans


def _judged(num_ranks: int, plans: dict[str, list[Measurement]]) -> dict[str, Any]:
    print(f"\n{num_ranks} ranks, {len(plans)} plans, none of them used to fit")
    titles = f"{'':24}{'plans':>6} {'TorchRec: Spearman':>20}{'median error':>14}"
    print(titles + f"   {'calibrated: Spearman':>20}{'median error':>14}{'worst':>8}")
    found: dict[str, Any] = {}
    models = dict.fromkeys(name.partition(":")[0] for name in plans)
    for model in [*models, "all"]:
        chosen = [plans[name] for name in plans if model in ("all", name.partition(":")[0])]
        measured = [median(each.embedding_ms for each in same) for same in chosen]
        kinds = {}
        for kind in ("torchrec", "calibrated"):
            kinds[kind] = agreement([sum(same[0].estimates[kind].values()) for same in chosen], measured)
        before, after = kinds["torchrec"], kinds["calibrated"]
        print(
            f"{model:24}{after.num_plans:6} {before.rank_correlation:20.3f}{before.median_error:14.1%}   "
            f"{after.rank_correlation:20.3f}{after.median_error:14.1%}{after.worst_error:8.0%}"
        )
        found[model] = {kind: asdict(value) for kind, value in kinds.items()}
    found["repeatability"] = _repeatability(plans)
    found["parts"] = _by_part(plans)
    return found


def _repeatability(plans: dict[str, list[Measurement]]) -> dict[str, float]:
    """The same plan measured again: the order, and how far apart the two are."""
    twice = [same for same in plans.values() if len(same) > 1]
    if not twice:
        return {}
    again = agreement([same[1].embedding_ms for same in twice], [same[0].embedding_ms for same in twice])
    print(f"{'the same plan again':24}{again.num_plans:6}   Spearman {again.rank_correlation:.3f}, ", end="")
    print(f"median difference {again.median_error:.1%}, worst {again.worst_error:.0%}")
    return asdict(again)


def _by_part(plans: dict[str, list[Measurement]]) -> dict[str, dict[str, float]]:
    """Which parts are wrong by how much: median of estimate over measurement."""
    found: dict[str, dict[str, float]] = {}
    print(f"{'part':24}{'measured ms':>12}{'TorchRec / measured':>22}{'calibrated / measured':>24}")
    for part in EMBEDDING_PARTS:
        measured = [median(each.slowest_ms[part] for each in same) for same in plans.values()]
        ratios = {
            kind: median(same[0].estimates[kind][part] / ms for same, ms in zip(plans.values(), measured, strict=True))
            for kind in ("torchrec", "calibrated")
        }
        print(f"{part:24}{median(measured):12.2f}{ratios['torchrec']:22.3f}{ratios['calibrated']:24.3f}")
        found[part] = {"measured_ms": median(measured), **ratios}
    return found


if __name__ == "__main__":
    main()
