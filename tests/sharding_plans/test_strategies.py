"""Strategies: those that ship, those of users, and what TorchRec's planner reads of them."""

from pathlib import Path

import pytest

from data.errors import PlanError
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.planning.offline import plan_offline
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.strategies.strategy_constraints import proposal_limit, table_constraints
from sharding_plans.strategies.strategy_files import load_strategy, strategy_from_dict, strategy_to_dict
from tests.sharding_plans.offline_plans import CPU, SMALL, hosts, model, request

ONE_TYPE = ("table_wise", "column_wise", "row_wise", "table_row_wise", "table_column_wise")


@pytest.mark.parametrize("name", ONE_TYPE)
def test_a_strategy_of_one_type_uses_it_for_every_table(name: str):
    plan = make_plan_file(request(name))
    assert {(table.sharding_type, table.compute_kernel) for table in plan.tables} == {(name, "fused")}


def test_grid_cuts_columns_and_rows():
    plan = make_plan_file(request("grid"))
    wide = plan.table("wide")
    assert wide is not None
    assert {shard.size for shard in wide.shards} == {(1250, 32)}  # 64 columns in two halves, 5,000 rows on 4 ranks
    assert {table.sharding_type for table in plan.tables} == {"grid_shard"}


def test_small_tables_are_copied_to_every_rank_up_to_the_threshold():
    strategy = Strategy(name="mine", data_parallel_below_mib=0.03, compute_kernels=("fused",))
    plan = make_plan_file(request(strategy))
    kinds = {table.name: table.sharding_type for table in plan.tables}
    assert kinds["few"] == kinds["some"] == "data_parallel"  # 192 B and 25 KiB of weights
    assert kinds["many"] != "data_parallel"  # 1.2 MiB
    assert kinds["wide"] != "data_parallel"


def test_offload_puts_large_tables_behind_a_cache():
    strategy = Strategy(name="mine", compute_kernels=("fused",), offload_above_mib=1, cache_load_factor=0.05)
    plan = make_plan_file(request(strategy))
    kernels = {table.name: (table.compute_kernel, table.cache_load_factor) for table in plan.tables}
    assert kernels["many"] == kernels["wide"] == ("fused_uvm_caching", 0.05)
    assert kernels["some"][0] in ("fused", "dense")
    assert plan.table("many").cost.ddr_bytes >= 20_000 * 16 * 4 * 2  # pyright: ignore[reportOptionalMemberAccess]


def test_a_strategy_from_a_file_rules_tables_by_pattern_pins_and_groups(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "description: by hand\nsharding_types: [row_wise]\ncompute_kernels: [fused]\n"
        "tables:\n  'w*': {sharding_types: [column_wise], min_partition: 16}\n  many: {rank: 2}\n"
        "together:\n  - [few, some]\n"
    )
    plan = make_plan_file(request(load_strategy(str(path))))
    tables = {table.name: table for table in plan.tables}
    assert tables["wide"].sharding_type == "column_wise"
    assert len(tables["wide"].shards) == 4
    assert (tables["many"].sharding_type, tables["many"].ranks) == ("table_wise", (2,))
    assert tables["few"].sharding_type == tables["some"].sharding_type == "table_wise"
    assert tables["few"].ranks == tables["some"].ranks


def test_strategies_survive_the_way_through_plain_values():
    mine = Strategy(
        name="mine",
        tables={"t*": TableRule(rank=3, cache_load_factor=0.2)},
        together=(("a", "b"),),
        partitioner="memory_balanced",
    )
    for strategy in (*STRATEGIES.values(), mine):
        assert strategy_from_dict(strategy_to_dict(strategy), origin="here") == strategy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sharding_type: [row_wise]", 'no key "sharding_type"; known, the nearest first: sharding_types'),
        ("sharding_types: [rowwise]", 'no sharding type "rowwise".*first: row_wise'),
        ("compute_kernels: [cached]", 'no compute kernel "cached"'),
        ("proposers: [greedie]", 'no proposer "greedie".*first: greedy'),
        ("partitioner: fair", 'no partitioner "fair"'),
        ("tables: {a: {ranks: 1}}", 'tables.a: There is no key "ranks"'),
        ("tables: {a: {rank: -1}}", "rank is -1"),
        ("column_shard_width: 6", "multiple of 4"),
        ("cache_load_factor: 1.5", "above 0 and below 1"),
        ("[1, 2]", "no strategy: expected keys and values"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_strategy_file_is_refused_with_what_is_wrong(text: str, words: str, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=words):
        load_strategy(str(path))


def test_unknown_strategies_and_tables_are_listed_nearest_first():
    with pytest.raises(PlanError, match='no strategy "tabel_wise"; known, the nearest first: table_wise, '):
        load_strategy("tabel_wise")
    with pytest.raises(PlanError, match='no table "manny"; known, the nearest first: many, ') as caught:
        make_plan_file(request(Strategy(name="mine", tables={"manny": TableRule(rank=0)})))
    assert not isinstance(caught.value, InfeasiblePlan)


def test_sharding_types_that_change_the_optimizer_are_left_out():
    rowwise = model(("a", 1000, 64), ("b", 50, 64), optimizer="row_wise_adagrad")
    plan = make_plan_file(request(model=rowwise))
    assert not {table.sharding_type for table in plan.tables} & {"column_wise", "table_column_wise", "grid_shard"}
    with pytest.raises(InfeasiblePlan, match="one accumulator per row"):
        make_plan_file(request("column_wise", model=rowwise))


@pytest.mark.parametrize("name", ["dynamic_programming", "offload"])
def test_strategies_about_gpu_memory_are_refused_on_cpu_ranks(name: str):
    with pytest.raises(InfeasiblePlan, match="GPU memory, which CPU ranks do not have"):
        plan_offline(request(name, hardware=CPU))


def test_searches_are_limited_by_tables_times_ranks():
    assert proposal_limit(26, 8) > 788  # TorchRec's whole search for MLPerf's tables on 8 ranks
    assert proposal_limit(1000, 64) == 31
    assert proposal_limit(10_000, 1000) == 20


def test_narrow_tables_are_halved_by_columns():
    constraints = table_constraints(STRATEGIES["column_wise"], SMALL, {})
    assert constraints["many"].min_partition == 8  # of 16 columns
    assert constraints["wide"].min_partition == 32


def test_memory_balanced_respects_pins():
    strategy = Strategy(name="mine", partitioner="memory_balanced", tables={"many": TableRule(rank=3)})
    plan = make_plan_file(request(strategy, hardware=hosts(ranks=4, hbm_gib=0.05)))
    assert plan.table("many").ranks == (3,)  # pyright: ignore[reportOptionalMemberAccess]
    assert plan.fits
