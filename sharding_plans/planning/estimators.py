"""TorchRec's own cost estimates, without computing the same shard's cost again and again.

A table split over 64 ranks has 64 shards of one size, which cost the same wherever they lie. TorchRec 1.8.0 works out each by
itself, which makes the enumeration of 1,000 tables on 64 ranks take minutes.
"""

import copy

from torchrec.distributed.planner.constants import DEFAULT_PERF_ESTIMATOR
from torchrec.distributed.planner.estimator import EmbeddingPerfEstimatorFactory
from torchrec.distributed.planner.shard_estimators import EmbeddingStorageEstimator
from torchrec.distributed.planner.types import (
    ParameterConstraints,
    Shard,
    SharderDataMap,
    ShardEstimator,
    ShardingOption,
    Topology,
)

from sharding_plans.planning.table_storage import TableStateStorage


class DistinctShards(ShardEstimator):
    """Another estimator's figures, asked for once per distinct shard size of an option and shared by its equal shards.

    Shards of one size share their Perf and Storage objects, which TorchRec replaces but never changes in place.
    """

    def __init__(
        self,
        estimator: ShardEstimator,
        topology: Topology | None = None,
        constraints: dict[str, ParameterConstraints] | None = None,
    ) -> None:
        self._estimator = estimator

    def estimate(self, sharding_options: list[ShardingOption], sharder_data_map: SharderDataMap) -> None:
        """Fill in every shard of the options, in place."""
        thin = [_with_distinct_shards(option) for option in sharding_options]
        self._estimator.estimate(thin, sharder_data_map)
        for option, few in zip(sharding_options, thin, strict=True):
            option.is_weighted = few.is_weighted
            by_size = {tuple(shard.size): shard for shard in few.shards}
            for shard in option.shards:
                known = by_size[tuple(shard.size)]
                shard.perf, shard.storage = known.perf or shard.perf, known.storage or shard.storage


def default_estimators(
    topology: Topology, constraints: dict[str, ParameterConstraints] | None = None
) -> list[ShardEstimator]:
    """TorchRec's default perf and storage estimators, sooner; optimizer states as the kernels keep them."""
    perf = EmbeddingPerfEstimatorFactory.create(DEFAULT_PERF_ESTIMATOR, topology=topology, constraints=constraints)
    storage = TableStateStorage(EmbeddingStorageEstimator(topology=topology, constraints=constraints), topology)
    if topology.uneven_sharding_perf_multiplier != 1.0:  # then a shard's cost depends on its siblings
        return [perf, storage]
    return [DistinctShards(perf), DistinctShards(storage)]


def _with_distinct_shards(option: ShardingOption) -> ShardingOption:
    few = copy.copy(option)
    distinct = {tuple(shard.size): shard for shard in option.shards}
    few.shards = [Shard(shard.size, shard.offset, shard.storage, shard.perf) for shard in distinct.values()]
    return few
