"""TorchRec's storage estimate with the optimizers' states counted as FBGEMM's kernels really keep them.

TorchRec 1.8.0 counts one value per weight for every optimizer but SGD, Adam and row-wise Adagrad: half of what LAMB keeps, and
less than the row-wise Adam and LAMB keep. It counts states in the bytes of the weights, though those of half-precision tables
are float32 as well, and one value per row of the whole table however many column shards keep one each.
"""

import math

from torch import Tensor
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.planner.types import (
    ParameterConstraints,
    Shard,
    SharderDataMap,
    ShardEstimator,
    ShardingOption,
    Storage,
    Topology,
)

from sharding_plans.tables.fused_algorithms import attached
from sharding_plans.tables.table_specs import state_bytes

_COUNTED_BY_TORCHREC: dict[str | None, float] = {None: 0.0, "sgd": 0.0, "adam": 2.0}
_IN_HOST_MEMORY = (EmbeddingComputeKernel.FUSED_UVM.value, EmbeddingComputeKernel.FUSED_UVM_CACHING.value)


class TableStateStorage(ShardEstimator):
    """Another estimator's storage, less what TorchRec counts for the optimizer's state, plus what the kernels keep."""

    def __init__(
        self,
        estimator: ShardEstimator,
        topology: Topology,
        constraints: dict[str, ParameterConstraints] | None = None,
    ) -> None:
        self._estimator = estimator
        self._device = topology.compute_device

    def estimate(self, sharding_options: list[ShardingOption], sharder_data_map: SharderDataMap) -> None:
        """Fill in the storage of every shard of the options, in place."""
        self._estimator.estimate(sharding_options, sharder_data_map)
        for option in sharding_options:
            in_host_memory = self._device == "cpu" or option.compute_kernel in _IN_HOST_MEMORY
            for shard in option.shards:
                shard.storage = _corrected(shard, option.tensor, in_host_memory)


def _corrected(shard: Shard, table: Tensor, in_host_memory: bool) -> Storage:
    assert shard.storage is not None
    more = _kept(shard, table) - _counted(shard, table)
    storage = shard.storage
    if in_host_memory:
        return Storage(hbm=storage.hbm, ddr=storage.ddr + more, ssd=storage.ssd)
    return Storage(hbm=storage.hbm + more, ddr=storage.ddr, ssd=storage.ssd)


def _kept(shard: Shard, table: Tensor) -> int:
    optimizer, _ = attached(table)  # pyright: ignore[reportArgumentType]
    return state_bytes(optimizer, *shard.size)


def _counted(shard: Shard, table: Tensor) -> int:
    """What TorchRec's estimate takes for the state: so many values of the weights' type per weight."""
    optimizer, _ = attached(table)  # pyright: ignore[reportArgumentType]
    per_weight = 1 / table.shape[-1] if optimizer == "row_wise_adagrad" else _COUNTED_BY_TORCHREC.get(optimizer, 1.0)
    weights = table.numel() * table.element_size() * math.prod(shard.size) / table.numel()
    return math.ceil(math.ceil(weights) * per_weight)
