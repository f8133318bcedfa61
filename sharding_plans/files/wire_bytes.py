"""Bytes that each rank sends to other ranks in a training step, worked out from the layout.

Counted as an ideal transfer: all-to-all sends what others need once; reduce-scatter and all-gather are rings. Ids are 8 bytes, as
TorchRec sends them, embeddings 4. Ids are taken to fall evenly on the rows. Light: no torch here.

B: rows of a rank's batch, R: ranks, H: ranks of a host, L: ids per row and table, D: columns of a shard, F: features of a table.
"""

from sharding_plans.files.layout import PlanFile, TablePlan

ID_BYTES, VALUE_BYTES = 8, 4


def sent_bytes_by_rank(plan: PlanFile) -> tuple[float, ...]:
    """Bytes sent per step, by rank: ids out, pooled embeddings back, gradients out again."""
    sent = [0.0] * plan.num_ranks
    if plan.num_ranks > 1:
        for table in plan.tables:
            _add(sent, table, plan)
    return tuple(sent)


def _add(sent: list[float], table: TablePlan, plan: PlanFile) -> None:
    if table.sharding_type == "data_parallel":
        return _add_all_reduce(sent, table)
    if table.sharding_type in ("table_wise", "column_wise", "table_column_wise"):
        return _add_owned(sent, table, plan)
    if table.sharding_type == "row_wise":
        return _add_row_wise(sent, table, plan)
    return _add_by_host(sent, table, plan)


def _add_all_reduce(sent: list[float], table: TablePlan) -> None:
    """A ring all-reduce of the dense gradient: 2 (R - 1) / R of the table from every rank."""
    share = 2 * (len(sent) - 1) / len(sent)
    for rank in range(len(sent)):
        sent[rank] += share * table.spec.weight_bytes


def _add_owned(sent: list[float], table: TablePlan, plan: PlanFile) -> None:
    """Every other rank sends its ids and later its gradients to the shard's owner, which sends pooled rows to all others."""
    ids, num_features = plan.local_batch_size * sum(table.spec.pooling_factors), len(table.spec.features)
    for shard in table.shards:
        pooled = plan.local_batch_size * num_features * shard.size[1] * VALUE_BYTES
        for rank in range(plan.num_ranks):
            if rank == shard.rank:
                sent[rank] += (plan.num_ranks - 1) * pooled
            else:
                sent[rank] += ids * ID_BYTES + pooled


def _add_row_wise(sent: list[float], table: TablePlan, plan: PlanFile) -> None:
    """Ids to the ranks of their rows; partial sums reduce-scattered; gradients all-gathered."""
    ids, others = plan.local_batch_size * sum(table.spec.pooling_factors), plan.num_ranks - 1
    pooled = plan.local_batch_size * len(table.spec.features) * table.spec.embedding_dim * VALUE_BYTES
    for rank in range(plan.num_ranks):
        sent[rank] += ids * ID_BYTES * others / plan.num_ranks + 2 * others * pooled


def _add_by_host(sent: list[float], table: TablePlan, plan: PlanFile) -> None:
    """Row-wise inside a host: reduce-scatter there, then all-to-all between hosts; gradients the same way back.

    A grid table does so for each group of columns, on the host that holds it.
    """
    per_host, num_hosts = plan.ranks_per_host, plan.num_ranks // plan.ranks_per_host
    ids, num_features = plan.local_batch_size * sum(table.spec.pooling_factors), len(table.spec.features)
    for start in range(0, len(table.shards), per_host):
        group = table.shards[start : start + per_host]
        pooled = plan.local_batch_size * num_features * group[0].size[1] * VALUE_BYTES
        holders = {shard.rank for shard in group}
        for rank in range(plan.num_ranks):
            kept = 1 / per_host if rank in holders else 0.0
            sent[rank] += ids * ID_BYTES * (1 - kept)
            if rank in holders:
                inside = (per_host - 1) / per_host * plan.num_ranks * pooled
                outside = (num_hosts - 1) * pooled
                sent[rank] += 2 * inside + outside
            elif num_hosts > 1:
                sent[rank] += pooled
