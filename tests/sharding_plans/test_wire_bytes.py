"""Bytes on the wire, worked out by hand for one table of 100 rows x 8 columns, 10 rows a rank, 2 ids a row."""

import pytest

from sharding_plans.files.layout import PlanFile, ShardPlan, TablePlan
from sharding_plans.files.wire_bytes import sent_bytes_by_rank
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from tests.sharding_plans.offline_plans import hosts, table

IDS = 10 * 2 * 8
"""Bytes of one rank's ids."""
POOLED = 10 * 8 * 4
"""Bytes of one rank's pooled embeddings, and of their gradients."""


def sent(
    kind: str, *shards: tuple[int, tuple[int, int], tuple[int, int]], num_ranks: int, per_host: int
) -> list[float]:
    pieces = tuple(ShardPlan(rank=rank, offset=offset, size=size) for rank, offset, size in shards)
    spec = table("t", 100, 8, ids=2.0)
    plan = PlanFile(
        tables=(TablePlan(spec=spec, sharding_type=kind, compute_kernel="fused", shards=pieces),),
        hardware=hosts(ranks=per_host),
        num_ranks=num_ranks,
        ranks_per_host=per_host,
        global_batch_size=10 * num_ranks,
        local_batch_size=10,
        strategy=STRATEGIES["planner"],
    )
    return list(sent_bytes_by_rank(plan))


def test_the_owner_of_a_whole_table_sends_pooled_rows_and_the_others_ids_and_gradients():
    assert sent("table_wise", (1, (0, 0), (100, 8)), num_ranks=3, per_host=3) == [
        IDS + POOLED,
        2 * POOLED,
        IDS + POOLED,
    ]


def test_column_shards_send_ids_to_each_owner_and_half_the_columns():
    halves = [(0, (0, 0), (100, 4)), (1, (0, 4), (100, 4))]
    assert sent("column_wise", *halves, num_ranks=2, per_host=2) == [IDS + POOLED / 2 + POOLED / 2] * 2


def test_row_wise_sends_half_of_the_ids_and_reduces_and_gathers():
    halves = [(0, (0, 0), (50, 8)), (1, (50, 0), (50, 8))]
    assert sent("row_wise", *halves, num_ranks=2, per_host=2) == [IDS / 2 + 2 * POOLED] * 2


def test_copies_all_reduce_the_tables_gradient():
    copies = [(rank, (0, 0), (100, 8)) for rank in range(4)]
    assert sent("data_parallel", *copies, num_ranks=4, per_host=4) == [2 * 3 / 4 * 100 * 8 * 4] * 4


def test_rows_on_one_host_reduce_inside_it_and_cross_once():
    halves = [(0, (0, 0), (50, 8)), (1, (50, 0), (50, 8))]
    holder = IDS / 2 + 2 * (1 / 2 * 4 * POOLED) + POOLED  # 4 ranks' rows inside the host, then one other host
    other = IDS + POOLED
    assert sent("table_row_wise", *halves, num_ranks=4, per_host=2) == [holder, holder, other, other]


@pytest.mark.parametrize("kind", ["table_wise", "row_wise", "data_parallel"])
def test_one_rank_sends_nothing(kind: str):
    assert sent(kind, (0, (0, 0), (100, 8)), num_ranks=1, per_host=1) == [0.0]
