"""The fitted cost model: what plans make ranks do, costs that come back out of the fit, and the planner that uses them."""

import random

import pytest

from data.errors import PlanError
from sharding_plans.calibrating.calibration import Calibration, calibration_of, part_ms
from sharding_plans.calibrating.fitting import Sample, errors, fit
from sharding_plans.calibrating.loads import Group, Piece, loads_of
from sharding_plans.files.plan_file import from_text, to_text
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.machines.hardware import HardwareProfile, shipped_profile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.tables.access import access_of
from sharding_plans.tables.cache_statistics import AccessStatistics
from sharding_plans.tables.table_specs import ModelTables, TableSpec
from sharding_plans.types import SHARDING_TYPES

GROUP = Group(num_ranks=2, local_batch_size=100, cache_bytes=2**20)


def table(name: str = "t", rows: int = 1000, columns: int = 8, ids: float = 3.0, **more: object) -> TableSpec:
    return TableSpec(
        name=name,
        module="ebc",
        num_embeddings=rows,
        embedding_dim=columns,
        features=(name,),
        pooling_factors=(ids,),
        **more,  # pyright: ignore[reportArgumentType]
    )


def test_a_whole_table_is_looked_up_for_the_rows_of_all_ranks():
    loads = loads_of([Piece(table(), "table_wise", 1, 0, 1000, 8)], GROUP)
    assert loads["lookup"][0].get("ids", 0) == 0
    lookup = loads["lookup"][1]
    assert (lookup["ids"], lookup["bags"], lookup["values_looked_up"]) == (600, 200, 4800)
    assert loads["input_dist"][0]["ids_sent"] == 300
    assert loads["input_dist"][1]["ids_received"] == 300
    assert loads["output_dist"][1]["values_exchanged_by_holder"] == 800


def test_frequent_rows_first_give_the_first_shard_of_rows_more_to_do():
    skewed = table(top_shares=((10, 0.5), (100, 0.75)), is_ordered=True)
    halves = [Piece(skewed, "row_wise", rank, 500 * rank, 500, 8) for rank in range(2)]
    first, second = loads_of(halves, GROUP)["lookup"]
    assert first["ids"] + second["ids"] == pytest.approx(600)
    assert first["ids"] > 0.85 * 600
    even, _ = loads_of([Piece(table(), "row_wise", rank, 500 * rank, 500, 8) for rank in range(2)], GROUP)["lookup"]
    assert even["ids"] == pytest.approx(300)


def test_a_copied_table_costs_its_whole_size_in_backward_and_optimizer():
    loads = loads_of([Piece(table(), "data_parallel", rank, 0, 1000, 8) for rank in range(2)], GROUP)
    assert [load["copied_values"] for load in loads["table_optimizer"]] == [8000, 8000]
    assert loads["lookup"][0]["copied_ids"] == 300
    assert "ids_sent" not in loads["input_dist"][0]


def test_distinct_rows_of_even_and_of_skewed_lookups():
    assert access_of(1000).distinct(500) == pytest.approx(1000 * (1 - 0.999**500), rel=1e-6)
    assert access_of(1000, ((1, 1.0),)).distinct(500) == pytest.approx(1.0)
    assert access_of(1000, ((1, 0.9),), True).share(0, 1) == pytest.approx(0.9)
    assert access_of(1000, ((1, 0.9),), False).share(0, 500) == pytest.approx(0.5)


def test_the_fit_finds_the_costs_that_times_were_made_from():
    draw, costs = random.Random(0), {"ids": 5.0, "values": 0.25, "always": 2e5}
    samples = []
    for _ in range(40):
        by_rank = [{"ids": draw.uniform(0, 1e5), "values": draw.uniform(0, 4e6), "always": 1.0} for _ in range(4)]
        samples.append(Sample(by_rank, part_ms(by_rank, costs, cores=2)))
    found = fit({"lookup": samples}, cores=2)["lookup"]
    assert found == pytest.approx(costs, rel=0.02)
    assert max(map(abs, errors(samples, found, 2))) < 0.02


def calibrated(costs: dict[str, dict[str, float]]) -> HardwareProfile:
    values = vars(Calibration(cores=2, cache_mib=16, costs={"2": costs}))
    base = shipped_profile("cpu_host")
    return HardwareProfile(**{**vars(base), "calibration": values})


def request(hardware: HardwareProfile, num_ranks: int = 2) -> PlanRequest:
    return PlanRequest(
        model=ModelTables(tables=(table("a", 1000, 16, 4.0), table("b", 1200, 16, 4.0))),
        hardware=hardware,
        num_ranks=num_ranks,
        global_batch_size=200,
        strategy=Strategy(name="free", sharding_types=SHARDING_TYPES),
    )


@pytest.mark.parametrize(
    ("dear", "expected"),
    [
        ({"output_dist": {"values_exchanged": 1e9, "exchanges": 1e9, "reductions": 1e9}}, "data_parallel"),
        ({"table_optimizer": {"copied_values": 1e6}, "output_dist": {"exchanges": 1e9}}, "row_wise"),
        ({"table_optimizer": {"copied_values": 1e6}, "output_dist": {"reductions": 1e9}}, "table_wise"),
    ],
)
def test_the_planner_avoids_what_the_machine_is_slow_at(dear: dict[str, dict[str, float]], expected: str):
    common = {"lookup": {"ids": 10.0}, "table_backward": {"ids": 10.0}}
    plan = make_plan_file(request(calibrated(common | dear)))
    assert {table.sharding_type for table in plan.tables} == {expected}


def test_a_plan_carries_its_calibrated_times_and_loses_them_on_other_hardware():
    plan = make_plan_file(request(calibrated({"lookup": {"ids": 10.0, "copied_ids": 1e3, "always": 1e6}})))
    assert plan.calibrated_ms is not None
    assert plan.calibrated_ms["lookup"] == pytest.approx(
        1 + 10.0 * 800 / 1e6
    )  # a table of 4 ids x 200 rows on each rank
    assert plan.step_ms == pytest.approx(sum(plan.calibrated_ms.values()))
    assert from_text(to_text(plan), origin="text") == plan
    assert score(plan, hardware=shipped_profile("cpu_host")).calibrated_ms is None


def test_other_numbers_of_ranks_are_estimated_by_torchrec_as_before():
    plain = make_plan_file(request(shipped_profile("cpu_host"), num_ranks=4))
    assert make_plan_file(request(calibrated({}), num_ranks=4)).rank_costs == plain.rank_costs
    with pytest.raises(PlanError, match="calibrated for 2 ranks, not for 4"):
        calibration_of(calibrated({}).calibration).costs_for(4)  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(PlanError, match="damaged"):
        calibration_of({"cores": 2})


def test_a_cache_of_frequent_rows_misses_less_the_more_skewed_the_lookups_are():
    even = AccessStatistics(table(rows=10_000, top_shares=((1, 0.0001),)), global_batch_size=1000)
    skewed = AccessStatistics(table(rows=10_000, top_shares=((10, 0.6), (100, 0.9))), global_batch_size=1000)
    assert skewed.expected_lookups < even.expected_lookups < 3000
    assert skewed.expected_miss_rate(0.1) < 0.5 * even.expected_miss_rate(0.1)
    assert (skewed.expected_miss_rate(0), skewed.expected_miss_rate(1)) == (1.0, 0.0)
    assert 0 < skewed.cacheability < even.cacheability < 1


def test_statistics_of_the_data_reach_the_estimate_of_a_cached_table():
    rule = TableRule(compute_kernels=("fused_uvm_caching",), sharding_types=("table_wise",), cache_load_factor=0.1)
    prefetch = []
    for shares in (((1, 0.001),), ((10, 0.9), (1000, 0.99))):
        model = ModelTables(tables=(table("a", 100_000, 64, 8.0, top_shares=shares),))
        strategy = Strategy(name="cached", tables={"a": rule})
        asked = request(shipped_profile("a100_sxm_40gb")).change(model=model, strategy=strategy)
        plan = make_plan_file(asked)
        assert score(plan).rank_costs == plan.rank_costs
        prefetch.append(plan.rank_costs[plan.slowest_rank].prefetch_ms)
    assert prefetch[1] < 0.7 * prefetch[0]
