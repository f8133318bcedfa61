"""On CPU a rank must hold a row of some table of each kind that is split by rows: plans are made so, and checked."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.applying.apply import shard
from sharding_plans.config import PlanConfig
from sharding_plans.guards.empty_shards import leaves_a_rank_empty
from sharding_plans.planning.constraints import build_constraints
from sharding_plans.planning.planner import live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from tests.sharding_plans.planning import tables
from tests.sharding_plans.test_guards import plan_for, refusal


@pytest.mark.parametrize(
    ("rows", "num_ranks", "is_empty"),
    # blocks of ceil(rows / ranks) rows: 6 over 4 are 2, 2, 2, 0; 7 are 2, 2, 2, 1; 1 over the 2 ranks of a host is 1, 0
    [(6, 4, True), (7, 4, False), (4, 4, False), (3, 4, True), (1, 2, True), (2, 2, False), (1, 1, False)],
)
def test_rows_run_out_before_the_ranks_do(rows: int, num_ranks: int, is_empty: bool):
    assert leaves_a_rank_empty(rows, num_ranks) is is_empty


@pytest.mark.parametrize(("kind", "rows"), [("row_wise", 5), ("table_row_wise", 1), ("grid_shard", 1)])
def test_a_plan_with_a_rank_without_any_row_is_refused(kind: str, rows: int):
    module = tables(("few", rows, 16), ("also_few", rows, 16), ("many", 40, 16))
    plan = plan_for(module, kind, kind, "table_wise")
    text = refusal(module, plan)
    assert re.match(rf"Rank [13] would hold no row of any {kind} table \(few", text)
    assert "train on fewer ranks" in text


def test_a_larger_table_beside_it_makes_the_plan_good():
    module = tables(("few", 5, 16), ("many", 40, 8))
    plan = plan_for(module, "row_wise", "row_wise")
    assert refusal(module, plan) == ""
    assert [shard.shard_sizes[0] for shard in plan.plan["ebc"]["few"].sharding_spec.shards] == [2, 2, 1, 0]  # pyright: ignore


def test_the_search_leaves_out_splits_that_leave_a_cpu_rank_empty():
    module = tables(("few", 5, 16), ("many", 40, 16))
    asked = PlanConfig(sharding_types=("table_wise", "row_wise"))
    on_cpu, on_cuda = (build_constraints(asked, module, num_ranks=4, device=device) for device in ("cpu", "cuda"))
    assert [on_cpu[name].sharding_types for name in ("few", "many")] == [["table_wise"], ["table_wise", "row_wise"]]
    assert on_cuda["few"].sharding_types == ["table_wise", "row_wise"]


def train_a_step() -> float:
    """On a rank: plan tables of 1 and 5 rows for all ranks, by rows where the planner may, and train one step."""
    num_ranks = torch.distributed.get_world_size()
    module = tables(("one", 1, 16), ("few", 5, 16))
    attach_sparse_optimizer(module, SparseOptimizerConfig(algorithm="sgd"))
    constraints = build_constraints(PlanConfig(), module, num_ranks=num_ranks)
    topology = live_topology(num_ranks, ddr_gib=1.0)
    plan = make_plan(module, topology, local_batch_size=2, sharders=[EveryTypeSharder()], constraints=constraints).plan
    sharded: Any = shard(module, plan, torch.device("cpu"), seed=1)
    ids = KeyedJaggedTensor(
        keys=["one", "few"], values=torch.tensor([0, 0, 4, 1]), lengths=torch.ones(4, dtype=torch.int32)
    )
    pooled = sharded.module["ebc"](ids).wait().values()
    pooled.sum().backward()
    return pooled.abs().sum().item()


def test_tables_smaller_than_the_number_of_ranks_are_trained(run_on_ranks: Callable[..., list[Any]]):
    assert all(weight > 0 for weight in run_on_ranks(4, train_a_step, timeout_seconds=60))
