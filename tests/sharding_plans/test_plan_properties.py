"""Properties of every plan, over random models, hardware and strategies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sharding_plans.comparing.diff import diff_plans
from sharding_plans.files.layout import PlanFile, TablePlan, total
from sharding_plans.files.plan_file import from_text, to_text
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.tables.table_specs import ModelTables, TableSpec
from tests.sharding_plans.offline_plans import hosts

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def models(draw: Any) -> ModelTables:
    optimizer = draw(st.sampled_from(["sgd", "adagrad", "adam"]))
    tables = []
    for index in range(draw(st.integers(1, 5))):
        ids = draw(st.floats(0.5, 30, allow_nan=False))
        tables.append(
            TableSpec(
                name=f"t{index}",
                module=draw(st.sampled_from(["ebc", "ranker.ebc"])) if index else "ebc",
                num_embeddings=draw(st.one_of(st.integers(1, 20), st.integers(21, 3_000_000))),
                embedding_dim=4 * draw(st.integers(1, 40)),
                features=(f"t{index}",),
                pooling_factors=(ids,),
                optimizer=optimizer,
            )
        )
    return ModelTables(tables=tuple(tables), dense_bytes=draw(st.integers(0, 10_000)))


@st.composite
def requests(draw: Any) -> PlanRequest:
    per_host = draw(st.sampled_from([1, 2, 4]))
    device = draw(st.sampled_from(["cuda", "cuda", "cpu"]))
    hardware = hosts(
        ranks=per_host, hbm_gib=draw(st.floats(0.2, 40)), memory_gib=draw(st.floats(1, 200)), device=device
    )
    num_ranks = per_host * draw(st.sampled_from([1, 2, 4]))
    return PlanRequest(
        model=draw(models()),
        hardware=hardware,
        num_ranks=num_ranks,
        global_batch_size=num_ranks * draw(st.integers(1, 500)),
        strategy=STRATEGIES[draw(st.sampled_from(sorted(STRATEGIES)))],
        reserved_fraction=draw(st.sampled_from([0.0, 0.15])),
    )


def _planned(request: PlanRequest) -> PlanFile:
    try:
        return make_plan_file(request)
    except InfeasiblePlan:
        assume(False)
        raise


@QUICK
@given(requests())
def test_plans_round_trip_cover_each_weight_once_add_up_and_score_alike(request: PlanRequest):
    plan = _planned(request)
    assert from_text(to_text(plan), origin="here") == plan
    assert score(plan).tables == plan.tables
    assert plan.fits
    assert diff_plans(plan, plan).is_same
    for table in plan.tables:
        assert _times_covered(table) == {len(table.shards) if table.sharding_type == "data_parallel" else 1}
    for rank, cost in enumerate(plan.rank_costs):
        parts = total(shard.cost for table in plan.tables for shard in table.shards if shard.rank == rank)
        assert cost == parts
    assert plan.step_ms == max(cost.step_ms for cost in plan.rank_costs)


def _times_covered(table: TablePlan) -> set[int]:
    """How often each weight is held, over the grid that the shards' edges cut the table into."""
    edges = [sorted({0, size, *_edges(table, axis)}) for axis, size in enumerate(_shape(table))]
    counts = np.zeros([len(edge) - 1 for edge in edges], dtype=int)
    for shard in table.shards:
        window = tuple(
            slice(edge.index(shard.offset[axis]), edge.index(shard.offset[axis] + shard.size[axis]))
            for axis, edge in enumerate(edges)
        )
        counts[window] += 1
    return set(counts.flatten().tolist())


def _shape(table: TablePlan) -> tuple[int, int]:
    return table.spec.num_embeddings, table.spec.embedding_dim


def _edges(table: TablePlan, axis: int) -> list[int]:
    return [edge for shard in table.shards for edge in (shard.offset[axis], shard.offset[axis] + shard.size[axis])]


@QUICK
@given(requests(), st.sampled_from(sorted(STRATEGIES)))
def test_the_difference_of_b_and_a_mirrors_that_of_a_and_b(request: PlanRequest, other: str):
    a = _planned(request)
    b = _planned(request.change(strategy=STRATEGIES[other]))
    there, back = diff_plans(a, b), diff_plans(b, a)
    assert there.tables == tuple(table.mirrored for table in back.tables)
    assert (there.moved_bytes, there.moved_back_bytes) == (back.moved_back_bytes, back.moved_bytes)
    assert there.is_same == back.is_same == (a.fingerprint == b.fingerprint)
    for one, mirrored in zip(there.ranks, back.ranks, strict=True):
        assert (one.hbm_bytes, one.ddr_bytes) == (-mirrored.hbm_bytes, -mirrored.ddr_bytes)
        assert one.step_ms == pytest.approx(-mirrored.step_ms)
