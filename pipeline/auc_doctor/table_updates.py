"""Which embedding tables training has changed: their weights beside the initial ones, which are a function of the seed."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torchrec.distributed import DistributedModelParallel
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from sharding_plans.applying.apply import local_pieces
from sharding_plans.applying.initial_weights import uniform_shard

_CHUNK_ROWS = 1 << 14


@torch.no_grad()
def updated_tables(
    model: DistributedModelParallel, configs: Mapping[str, EmbeddingBagConfig], seed: int
) -> dict[str, bool]:
    """For each table whether any weight on any rank differs from its initial value; a collective, equal on every rank.

    `configs`: parameter names and configs of the tables before the module was sharded, by
    `sharding_plans.applying.apply.table_configs`; `seed`: the one that `shard` was given. A table
    is read only up to its first change.
    """
    weights = model.state_dict()
    changed = torch.tensor(
        [_is_changed(weights[name], config, seed) for name, config in configs.items()], dtype=torch.int8
    )
    device = next(iter(model.parameters())).device if dist.get_backend() == "nccl" else torch.device("cpu")
    changed = changed.to(device)
    dist.all_reduce(changed, dist.ReduceOp.MAX)
    return {config.name: bool(flag) for config, flag in zip(configs.values(), changed.tolist(), strict=True)}


def _is_changed(weight, config: EmbeddingBagConfig, seed: int) -> bool:
    for (row, end_row), columns, tensor in local_pieces(weight):
        for start in range(row, end_row, _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, end_row)
            initial = torch.empty_like(tensor[start - row : stop - row])
            uniform_shard(
                seed,
                config.name,
                rows=(start, stop),
                columns=columns,
                dim=config.embedding_dim,
                low=config.get_weight_init_min(),
                high=config.get_weight_init_max(),
                out=initial,
            )
            if not torch.equal(initial, tensor[start - row : stop - row]):
                return True
    return False
