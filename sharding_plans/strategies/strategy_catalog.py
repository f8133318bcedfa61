"""The strategies that come with Shardline. Light: no torch here."""

from sharding_plans.strategies.strategies import TORCHREC_PROPOSERS, Strategy
from sharding_plans.types import SHARDING_TYPES

_ALL = (
    Strategy(name="planner", description="TorchRec's own search over every sharding type and kernel"),
    Strategy(
        name="dynamic_programming",
        description="TorchRec's dynamic programming over memory budgets",
        proposers=("dynamic_programming",),
    ),
    Strategy(
        name="memory_balanced",
        description="TorchRec's own search, placed to even out memory within 2 % of the best time",
        partitioner="memory_balanced",
    ),
    Strategy(
        name="local_search",
        description="TorchRec's search, then one table at a time while the plan gains; the slowest shards placed first",
        sharding_types=SHARDING_TYPES,
        column_shard_width=64,
        proposers=(*TORCHREC_PROPOSERS, "local_search"),
        partitioner="greedy_by_time",
    ),
    Strategy(
        name="table_wise",
        description="every table whole on one rank, in device memory",
        sharding_types=("table_wise",),
        compute_kernels=("fused",),
    ),
    Strategy(
        name="column_wise",
        description="every table cut into columns of 32 over all ranks, in device memory",
        sharding_types=("column_wise",),
        compute_kernels=("fused",),
        column_shard_width=32,
    ),
    Strategy(
        name="row_wise",
        description="every table cut into rows over all ranks, in device memory",
        sharding_types=("row_wise",),
        compute_kernels=("fused",),
    ),
    Strategy(
        name="table_row_wise",
        description="every table on one host, cut into rows over its ranks, in device memory",
        sharding_types=("table_row_wise",),
        compute_kernels=("fused",),
    ),
    Strategy(
        name="table_column_wise",
        description="every table on one host, cut into columns of 32 over its ranks, in device memory",
        sharding_types=("table_column_wise",),
        compute_kernels=("fused",),
        column_shard_width=32,
    ),
    Strategy(
        name="grid",
        description="every table cut into columns of 32 over hosts and into rows inside a host, in device memory",
        sharding_types=("grid_shard",),
        compute_kernels=("fused",),
        column_shard_width=32,
    ),
    Strategy(
        name="small_data_parallel",
        description="tables up to 8 MiB copied to every rank, the others searched, in device memory",
        compute_kernels=("fused",),
        data_parallel_below_mib=8,
    ),
    Strategy(
        name="offload",
        description="tables above 64 MiB in host memory, 1 % of their rows cached on the GPU",
        compute_kernels=("fused",),
        offload_above_mib=64,
        cache_load_factor=0.01,
    ),
)
STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in _ALL}
