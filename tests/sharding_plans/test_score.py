"""Scores are TorchRec's own figures, for plans that the planner made and for plans edited by hand."""

from dataclasses import replace

import pytest
from torchrec.distributed.planner.enumerators import EmbeddingEnumerator
from torchrec.distributed.planner.perf_models import NoopPerfModel

from data.errors import PlanError
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import plan_file_of
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.machines.profile_topology import topology_of
from sharding_plans.planning.offline import plan_offline
from sharding_plans.planning.planner import SortedEnumerator
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.tables.from_model import build_tables_module
from tests.sharding_plans.offline_plans import A100, CPU, SMALL, request


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_score_equals_the_planners_own_figures(strategy: str):
    asked = request(strategy, num_ranks=16)
    planned = plan_offline(asked)
    plan = plan_file_of(asked, planned.options, make_plan_file(asked).search)
    assert score(plan).tables == plan.tables
    assert plan.step_ms == pytest.approx(NoopPerfModel(planned.topology).rate(planned.options), rel=1e-12)


def _moved(plan: PlanFile, name: str, rank: int) -> PlanFile:
    tables = [
        replace(table, shards=tuple(replace(shard, rank=rank) for shard in table.shards))
        if table.name == name
        else table
        for table in plan.tables
    ]
    return replace(plan, tables=tuple(tables))


def test_moving_a_table_by_hand_moves_its_costs_and_nothing_else():
    plan = make_plan_file(request("table_wise"))
    many = plan.table("many")
    assert many is not None
    source = many.ranks[0]
    target = (source + 1) % 4
    after = score(_moved(plan, "many", target))
    assert after.rank_costs[target].hbm_bytes - plan.rank_costs[target].hbm_bytes == many.cost.hbm_bytes
    assert plan.rank_costs[source].step_ms - after.rank_costs[source].step_ms == pytest.approx(many.cost.step_ms)


def test_columns_cut_unevenly_by_hand_are_scored():
    plan = make_plan_file(request("column_wise"))
    wide = plan.table("wide")
    assert wide is not None
    uneven = [replace(wide.shards[0], size=(5000, 48)), replace(wide.shards[1], size=(5000, 16), offset=(0, 48))]
    tables = [replace(table, shards=tuple(uneven)) if table.name == "wide" else table for table in plan.tables]
    scored = score(replace(plan, tables=tuple(tables))).table("wide")
    assert scored is not None
    assert scored.shards[0].cost.output_dist_ms == pytest.approx(3 * scored.shards[1].cost.output_dist_ms)


def test_a_plan_is_scored_on_other_hardware_and_for_another_batch():
    plan = make_plan_file(request("table_wise"))
    faster = score(plan, hardware=replace(A100, name="twice", hbm_gb_per_s=2 * A100.hbm_gb_per_s))
    assert faster.rank_costs[0].forward_ms == pytest.approx(plan.rank_costs[0].forward_ms / 2)
    assert score(plan, global_batch_size=128).step_ms > plan.step_ms


def test_a_plan_that_the_hardware_cannot_carry_is_not_scored():
    by_host = make_plan_file(request("table_row_wise"))
    with pytest.raises(PlanError, match="4 ranks a host, cpu_host has 2"):
        score(by_host, hardware=CPU)
    with pytest.raises(PlanError, match="cannot be scored on cpu_host"):
        score(
            make_plan_file(request("offload", model=SMALL.replace_tables(["many"], num_embeddings=2_000_000))),
            hardware=CPU,
        )


@pytest.mark.parametrize("hardware", [A100, CPU], ids=["gpu", "cpu"])
def test_estimates_shared_by_equal_shards_are_those_of_torchrec(hardware):
    topology = topology_of(hardware, 8)
    module = build_tables_module(SMALL)
    ours = make_options(SortedEnumerator, topology, module)
    theirs = make_options(EmbeddingEnumerator, topology, module)
    assert len(ours) == len(theirs) > 20
    for one, other in zip(ours, theirs, strict=True):
        assert one.shards == other.shards


def make_options(enumerator, topology, module):
    """All options in a fixed order; with our estimators where the enumerator is ours, as `make_plan` gives it."""
    from sharding_plans.planning.estimators import default_estimators

    estimators = {"estimator": default_estimators(topology)} if enumerator is SortedEnumerator else {}
    options = enumerator(topology=topology, batch_size=16, **estimators).enumerate(module, [EveryTypeSharder()])
    return sorted(options, key=lambda option: (option.name, option.sharding_type, option.compute_kernel))
