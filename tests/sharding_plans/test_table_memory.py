"""Estimated memory of tables and optimizer states, against what the kernels of live ranks really hold."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torchrec.modules.embedding_configs import DataType

from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.apply import shard, table_configs
from sharding_plans.applying.held_bytes import allocated_bytes, held_bytes
from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.machines.topology import live_topology
from sharding_plans.planning.constraints import build_constraints
from sharding_plans.planning.planner import make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.tables.table_specs import state_bytes
from sharding_plans.types import SHARDING_TYPES, SPLITS_COLUMNS
from tests.sharding_plans.planning import tables

SHAPES = (("a", 1000, 16), ("b", 37, 32), ("c", 501, 8))
NUM_RANKS, RANKS_PER_HOST = 4, 2
CASES = [
    (kind, optimizer, data_type)
    for kind, optimizer, data_type in product(SHARDING_TYPES, ("sgd", "adagrad", "row_wise_adagrad"), ("FP32", "FP16"))
    if not (optimizer == "row_wise_adagrad" and kind in SPLITS_COLUMNS)  # refused: another algorithm
    and not (kind == "data_parallel" and data_type == "FP16")
]


def estimated_and_held(cases: list[tuple[str, str, str]]) -> list[tuple[int, int]]:
    """On a rank, for each case: estimated and held bytes of tables and states."""
    return [_estimated_and_held(*case) for case in cases]


def _estimated_and_held(kind: str, optimizer: str, data_type: str) -> tuple[int, int]:
    rank = torch.distributed.get_rank()
    module = tables(*SHAPES)
    for _, config in table_configs(module):
        config.data_type = DataType[data_type]
    if data_type == "FP16":
        module.half()
    sparse = SparseOptimizerConfig(algorithm=optimizer)  # pyright: ignore[reportArgumentType]
    attach_sparse_optimizer(module, sparse)
    rule = TableConstraint(sharding_types=(kind,), min_partition=4)  # pyright: ignore[reportArgumentType]
    planned = make_plan(
        module,
        live_topology(NUM_RANKS),
        local_batch_size=0,  # no ids and no pooled embeddings: what is left are tables and states
        sharders=[EveryTypeSharder()],
        constraints=build_constraints(PlanConfig(tables={"*": rule}), module, num_ranks=NUM_RANKS),
    )
    estimated = sum(s.storage.ddr for o in planned.options for s in o.shards if s.rank == rank and s.storage)
    model = shard(module, planned.plan, torch.device("cpu"), seed=0)
    built = build_optimizer(model, sparse, DenseOptimizerConfig())
    held = held_bytes(model)
    return estimated, held.weights + held.state + allocated_bytes(built.data_parallel_states)


def test_estimated_memory_of_tables_and_states_is_what_ranks_really_hold(run_on_ranks: Callable[..., list[Any]]):
    per_rank = run_on_ranks(NUM_RANKS, estimated_and_held, CASES, ranks_per_host=RANKS_PER_HOST)
    wrong = {
        f"{'-'.join(case)} rank {rank}": found[i]
        for rank, found in enumerate(per_rank)
        for i, case in enumerate(CASES)
        if found[i][1] != pytest.approx(found[i][0], rel=0.02)
    }
    assert not wrong


@pytest.mark.parametrize(
    ("optimizer", "values"),
    [("adam", 2 * 80), ("partial_row_wise_adam", 80 + 10), ("lamb", 2 * 80), ("partial_row_wise_lamb", 80 + 10)],
)
def test_states_of_optimizers_that_only_gpus_have_count_what_fbgemm_keeps(optimizer: str, values: int):
    assert state_bytes(optimizer, rows=10, columns=8) == 4 * values
