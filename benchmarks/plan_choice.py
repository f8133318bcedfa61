"""Is the plan that is chosen by calibration and data statistics faster than TorchRec's default choice?

    python -m benchmarks.plan_choice --ranks 2

Needs the profile that `python -m benchmarks.plan_truth calibrate` writes. Both plans of a model are live at once and take whole,
uncut training steps by turns. A pair is the medians of a round of such steps; a gain is the median over the pairs of default over
chosen, its spread the quartiles. Where both chose the same plan, the gain shows how far two equal things are measured apart.
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
from pipeline.measuring.paired_steps import paired_steps
from pipeline.ranks import Ranks
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import live_plan_file
from sharding_plans.machines.hardware import read_profile
from sharding_plans.planning.planner import make_plan
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.tables.from_model import build_tables_module
from sharding_plans.types import SHARDING_TYPES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--models", type=int, nargs="+", default=range(len(MODELS)))
    asked = parser.parse_args()
    print(f"{asked.ranks} ranks, {asked.pairs} pairs of {asked.steps} steps")
    print(f"{'model':20}{'default ms':>11}{'chosen ms':>11}{'gain':>7}{'quartiles':>15}   plans: default -> chosen")
    found = on_ranks(asked.ranks, compare, [MODELS[i] for i in asked.models], asked.pairs, asked.steps)
    path = OUT / f"plan_choice_{asked.ranks}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | found, indent=1))


def compare(ranks: Ranks, workloads: list[Workload], num_pairs: int, steps: int) -> dict[str, Any]:
    """By model: milliseconds of both plans in every pair."""
    found = {}
    for workload in workloads:
        bench = bench_of(ranks, steps, read_profile(PROFILE))
        default = ranks.on_zero(lambda workload=workload: torchrec_default(workload, ranks.num_ranks))
        chosen = plan_workload(bench, workload, Strategy(name="chosen", sharding_types=SHARDING_TYPES))
        found[workload.name] = _paired(bench, workload, default, chosen, num_pairs)
        if ranks.is_zero:
            _tell(workload.name, found[workload.name])
    return found


def torchrec_default(workload: Workload, num_ranks: int) -> PlanFile:
    """What TorchRec's planner chooses by itself: its own sharder, topology and estimates, one id a bag."""
    tables = probe_tables(workload, OPTIMIZER)
    planned = make_plan(
        build_tables_module(tables),
        Topology(world_size=num_ranks, compute_device="cpu", local_world_size=num_ranks),
        local_batch_size=workload.global_batch_size // num_ranks,
        sharders=[EmbeddingBagCollectionSharder()],
    )
    return live_plan_file(planned, tables, global_batch_size=workload.global_batch_size)


def _paired(bench: Bench, workload: Workload, default: PlanFile, chosen: PlanFile, num_pairs: int) -> dict[str, Any]:
    plans = {"default": default, "chosen": chosen}
    ms = paired_steps(
        plans,
        lambda: probe_task(workload, bench.optimizer),
        probe_batches(workload, bench.ranks.rank, bench.ranks.num_ranks, bench.num_batches),
        workload_config(bench, workload),
        bench.ranks,
        num_rounds=num_pairs,
        steps_per_round=bench.steps.measured,
    )
    gains = [a / b for a, b in zip(ms["default"], ms["chosen"], strict=True)]
    types = {name: _types(plan) for name, plan in plans.items()}
    return {**ms, "gains": gains, "types": types, "is_same_plan": default.fingerprint == chosen.fingerprint}


def _types(plan: PlanFile) -> str:
    kinds = [table.sharding_type for table in plan.tables]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _tell(name: str, found: dict[str, Any]) -> None:
    low, _, high = quantiles(found["gains"], n=4) if len(found["gains"]) > 1 else (found["gains"] * 3)
    same = " (the same plan)" if found["is_same_plan"] else ""
    print(
        f"{name:20}{median(found['default']):11.2f}{median(found['chosen']):11.2f}{median(found['gains']):7.2f}"
        f"{low:8.2f}-{high:.2f}   {found['types']['default']} -> {found['types']['chosen']}{same}",
        flush=True,
    )


if __name__ == "__main__":
    main()
