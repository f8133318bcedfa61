"""The local search: finds what tables decide together, fits where the cheapest options do not, repeats itself."""

from dataclasses import replace
from itertools import product

import pytest

from sharding_plans.calibrating.calibration import Calibration
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.machines.hardware import HardwareProfile, shipped_profile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.tables.table_specs import ModelTables
from tests.sharding_plans.offline_plans import A100, hosts, model, request, table

# Two ranks, whose output dist takes 0.8 ms for every table that the fuller one holds: 1.6 ms for these four. Copying tables costs
# 0.5 ms, once, and 0.05 ms a table. Copy one, and the fuller rank still holds two: no gain. Copy two, and each holds one.
COSTS = {"lookup": {"copies": 5e5}, "output_dist": {"tables": 8e5}, "table_backward": {"copied_values": 50.0}}
SMALL_TABLES = ("small_0", "small_1", "small_2")
TABLES = ModelTables(tables=(*(table(name, 125, 8) for name in SMALL_TABLES), table("large", 100_000, 8)))
SEARCH = Strategy(
    name="s",
    sharding_types=("table_wise", "data_parallel"),
    proposers=("local_search",),
    partitioner="greedy_by_time",
)


def asked(strategy: Strategy, tables: ModelTables = TABLES, costs: dict[str, dict[str, float]] = COSTS) -> PlanRequest:
    calibration = vars(Calibration(cores=2, cache_mib=16, costs={"2": costs}))
    return PlanRequest(
        model=tables,
        hardware=HardwareProfile(**{**vars(shipped_profile("cpu_host")), "calibration": calibration}),
        num_ranks=2,
        global_batch_size=2000,
        strategy=strategy,
    )


def test_the_search_finds_the_best_of_all_plans_where_tables_decide_together():
    found = make_plan_file(asked(SEARCH))
    assert sorted(each.sharding_type for each in found.tables) == ["data_parallel"] * 2 + ["table_wise"] * 2
    assert found.step_ms == pytest.approx(0.8 + 0.5 + 2 * 0.05)
    by_hand = []
    for kinds in product(("table_wise", "data_parallel"), repeat=3):
        rules = {name: TableRule(sharding_types=(kind,)) for name, kind in zip(SMALL_TABLES, kinds, strict=True)}
        by_hand.append(make_plan_file(asked(replace(SEARCH, tables=rules))).step_ms)
    assert found.step_ms == pytest.approx(min(by_hand))


def test_the_search_starts_from_what_fits_and_stays_there():
    tables = model(("a", 400_000, 64), ("b", 400_000, 64), ("c", 300_000, 64), ("d", 100, 64))
    narrow = hosts(ranks=4, hbm_gib=0.3)
    only = Strategy(name="s", compute_kernels=("fused",), proposers=("local_search",))
    plan = make_plan_file(request(only, model=tables, hardware=narrow))
    assert plan.fits
    plain = make_plan_file(request(Strategy(name="p", compute_kernels=("fused",)), model=tables, hardware=narrow))
    assert plan.step_ms <= plain.step_ms


def test_the_shipped_strategy_is_never_rated_worse_than_the_planner_and_repeats_itself():
    for hardware in (A100, shipped_profile("cpu_host")):
        plan = make_plan_file(request("local_search", hardware=hardware))
        assert plan.step_ms <= make_plan_file(request("planner", hardware=hardware)).step_ms * (1 + 1e-9)
        assert make_plan_file(request("local_search", hardware=hardware)).fingerprint == plan.fingerprint


def test_the_slowest_tables_are_placed_first():
    """Of 22 ids a row the fuller rank looks up 14 where the largest tables go first, 11 where the slowest do."""
    ids_by_size = (1, 5, 4, 3, 1, 8)
    tables = ModelTables(
        tables=tuple(table(f"t{i}", 10_000 * (6 - i), 16, ids=ids) for i, ids in enumerate(ids_by_size))
    )
    fullest = {}
    for partitioner in ("greedy", "greedy_by_time"):
        strategy = Strategy(name="s", sharding_types=("table_wise",), partitioner=partitioner)
        by_rank = [0.0, 0.0]
        for each in make_plan_file(asked(strategy, tables, {"lookup": {"ids": 10.0}})).tables:
            by_rank[each.ranks[0]] += each.spec.pooling_factors[0]
        fullest[partitioner] = max(by_rank)
    assert fullest["greedy_by_time"] == 11
    assert fullest["greedy"] == 14
