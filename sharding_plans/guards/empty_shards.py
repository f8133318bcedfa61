"""Ranks that hold no row of any table of a kind, which FBGEMM's CPU kernels do not survive.

TorchRec gives a rank one kernel for all its pieces of one sharding type, pooling and data type. On CUDA a kernel without any
row runs; on CPU it fails in the first forward ("weights[0] must be a GPU tensor"), on that rank alone, and the others hang.
"""

from collections import defaultdict
from typing import Any

from torchrec.modules.embedding_modules import EmbeddingBagCollection

from data.errors import PlanError
from sharding_plans.types import SPLITS_ROWS


def leaves_a_rank_empty(rows: int, num_ranks: int) -> bool:
    """Whether equal blocks of a table's rows run out before the ranks do: over all of them, or over those of any host size."""
    sizes = [size for size in range(2, num_ranks + 1) if num_ranks % size == 0]
    return any((size - 1) * -(-rows // size) >= rows for size in sizes)


def check_no_empty_rank(collection: EmbeddingBagCollection, planned: dict[str, Any]) -> None:
    """Raise PlanError naming rank and tables where a CPU rank would have a kernel without any row."""
    rows_of: dict[tuple[int, str, Any, Any], int] = defaultdict(int)
    tables_of: dict[tuple[int, str, Any, Any], list[str]] = defaultdict(list)
    for config in collection.embedding_bag_configs():
        how = planned[config.name]
        for shard in how.sharding_spec.shards if how.sharding_type in SPLITS_ROWS else []:
            if shard.placement.device().type != "cpu":
                continue
            kernel = (shard.placement.rank(), how.sharding_type, config.pooling, config.data_type)
            rows_of[kernel] += shard.shard_sizes[0]
            tables_of[kernel].append(config.name)
    empty = [kernel for kernel, rows in rows_of.items() if not rows]
    if empty:
        rank, kind, *_ = empty[0]
        names = dict.fromkeys(tables_of[empty[0]])
        raise PlanError(
            f"Rank {rank} would hold no row of any {kind} table ({', '.join(names)}: too few rows for so many ranks), and "
            f"FBGEMM's CPU kernels fail without a row. Shard these tables table_wise or data_parallel, shard a larger table "
            f"{kind} beside them, or train on fewer ranks."
        )
