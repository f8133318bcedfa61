"""Is the plan that is chosen by calibration and data statistics faster than TorchRec's default choice?

    python -m benchmarks.plan_choice --ranks 2

Needs the profile that `python -m benchmarks.plan_truth calibrate` writes. The default is what TorchRec's planner chooses by
itself: its own sharder, proposers, partitioner and estimates, one id a bag. The chosen plan is that of the strategy
`local_search` with the calibrated costs and what is known of the ids. Both are live at once and take training steps by turns,
whole ones and ones cut into parts. A pair is the medians of a round of such steps, of freshly sharded models; a gain is the
median over the pairs of default over chosen, its spread the quartiles: of whole steps (of tables with a single linear layer
behind them) and of the embedding part. Where both chose the same plan, the gain shows how far two equal things are measured
apart.
"""

import argparse
import json
from statistics import median, quantiles
from typing import Any

from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner.types import Topology

from benchmarks.live_ranks import on_ranks
from benchmarks.plan_models import MODELS
from benchmarks.plan_truth import OPTIMIZER, OUT, PROFILE, bench_of
from pipeline.calibrating.calibrator import Bench, plan_workload, workload_config
from pipeline.calibrating.probe_task import Workload, probe_batches, probe_tables, probe_task
from pipeline.measuring.paired_steps import PairedTimes, paired_steps
from pipeline.ranks import Ranks
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import live_plan_file
from sharding_plans.files.scored_plans import score
from sharding_plans.machines.hardware import read_profile
from sharding_plans.planning.planner import make_plan
from sharding_plans.planning.quiet import quiet_torchrec
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.tables.from_model import build_tables_module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--models", type=int, nargs="+", default=range(len(MODELS)))
    asked = parser.parse_args()
    if not PROFILE.is_file():
        raise SystemExit(
            f"{PROFILE} is missing: run python -m benchmarks.plan_truth calibrate --ranks {asked.ranks} first"
        )
    print(f"{asked.ranks} ranks, {asked.pairs} pairs of {asked.steps} steps")
    print(f"{'':40}{'default ms':>11}{'chosen ms':>11}{'gain':>7}{'quartiles':>13}{'estimated':>11}")
    on_ranks(asked.ranks, compare, [MODELS[i] for i in asked.models], asked.pairs, asked.steps)


def compare(ranks: Ranks, workloads: list[Workload], num_pairs: int, steps: int) -> None:
    """Both plans of every model in turn; what is found is told, and added to the results of earlier runs."""
    for workload in workloads:
        bench = bench_of(ranks, steps, read_profile(PROFILE))
        default = ranks.on_zero(lambda workload=workload: torchrec_default(workload, ranks.num_ranks))
        chosen = plan_workload(bench, workload, STRATEGIES["local_search"])
        found = _paired(bench, workload, default, chosen, num_pairs)
        if ranks.is_zero:
            _tell(workload.name, found)
            _keep(workload.name, found, ranks.num_ranks)


def torchrec_default(workload: Workload, num_ranks: int) -> PlanFile:
    """What TorchRec's planner chooses by itself: its own sharder, topology and estimates, one id a bag."""
    tables = probe_tables(workload, OPTIMIZER)
    with quiet_torchrec():  # which would have topologies made by its factory alone
        topology = Topology(world_size=num_ranks, compute_device="cpu", local_world_size=num_ranks)
    planned = make_plan(
        build_tables_module(tables),
        topology,
        local_batch_size=workload.global_batch_size // num_ranks,
        sharders=[EmbeddingBagCollectionSharder()],
    )
    return live_plan_file(planned, tables, global_batch_size=workload.global_batch_size)


def _paired(bench: Bench, workload: Workload, default: PlanFile, chosen: PlanFile, num_pairs: int) -> dict[str, Any]:
    plans = {"default": default, "chosen": chosen}
    times = paired_steps(
        plans,
        lambda: probe_task(workload, bench.optimizer),
        probe_batches(workload, bench.ranks.rank, bench.ranks.num_ranks, bench.num_batches),
        workload_config(bench, workload),
        bench.ranks,
        num_rounds=num_pairs,
        steps_per_round=bench.steps.measured,
    )
    return {
        "whole step": _gain(times, "step_ms"),
        "embedding part": _gain(times, "embedding_ms"),
        "estimated gain": _estimated_ms(default, bench) / _estimated_ms(chosen, bench),
        "types": {name: _types(plan) for name, plan in plans.items()},
        "is_same_plan": default.fingerprint == chosen.fingerprint,
    }


def _gain(times: dict[str, PairedTimes], kind: str) -> dict[str, Any]:
    default, chosen = getattr(times["default"], kind), getattr(times["chosen"], kind)
    gains = [a / b for a, b in zip(default, chosen, strict=True)]
    low, _, high = quantiles(gains, n=4) if len(gains) > 1 else gains * 3
    return {"default_ms": default, "chosen_ms": chosen, "gains": gains, "gain": median(gains), "quartiles": [low, high]}


def _estimated_ms(plan: PlanFile, bench: Bench) -> float:
    """The calibrated milliseconds of the embedding part."""
    parts = score(plan, hardware=bench.hardware).calibrated_ms
    assert parts is not None, f"{PROFILE} is not calibrated for {bench.ranks.num_ranks} ranks"
    return sum(parts.values())


def _types(plan: PlanFile) -> str:
    kinds = [table.sharding_type for table in plan.tables]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _tell(name: str, found: dict[str, Any]) -> None:
    for kind in ("whole step", "embedding part"):
        gain = found[kind]
        low, high = gain["quartiles"]
        line = f"{name + ', ' + kind:40}{median(gain['default_ms']):11.2f}{median(gain['chosen_ms']):11.2f}{gain['gain']:7.2f}"
        estimated = f"{found['estimated gain']:11.2f}" if kind == "embedding part" else ""
        print(f"{line}{low:8.2f}-{high:.2f}{estimated}")
    same = " (the same plan)" if found["is_same_plan"] else ""
    print(f"    {found['types']['default']} -> {found['types']['chosen']}{same}", flush=True)


def _keep(name: str, found: dict[str, Any], num_ranks: int) -> None:
    path = OUT / f"plan_choice_{num_ranks}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {name: found}, indent=1))


if __name__ == "__main__":
    main()
