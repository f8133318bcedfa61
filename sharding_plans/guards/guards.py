"""What TorchRec 1.8.0 would compute silently wrong, refused before it runs, with the reason."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torchrec.distributed.types import ShardingPlan
from torchrec.modules.embedding_configs import PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from data.errors import ConfigError, PlanError
from sharding_plans.guards.empty_shards import check_no_empty_rank
from sharding_plans.guards.plan_checks import check_fits, table_collections
from sharding_plans.tables.fused_algorithms import ALGORITHMS, CPU_ALGORITHMS, attached
from sharding_plans.types import SHARDING_TYPES, SPLITS_COLUMNS

_COLUMNS_REASON = (
    "{} per row, and a table that is split by columns gets one per row and column shard: another algorithm, and not the "
    "model's under another plan"
)
_LAZY_REASON = (
    "the fused kernels decay or move by momentum only the rows of the batch, and data-parallel tables are trained densely: "
    "another algorithm, and not the model's under another plan"
)
_CLIPPED_REASON = (
    "max_gradient clips the gradient of each lookup, and data-parallel tables know only its sum over the batch: "
    "another algorithm, and not the model's under another plan"
)


def check_plan(module: nn.Module, plan: ShardingPlan, *, num_ranks: int, ranks_per_host: int) -> None:
    """Raise PlanError unless the plan fits the tables and the ranks, runs, and computes what the unsharded model would."""
    check_fits(module, plan, num_ranks=num_ranks, ranks_per_host=ranks_per_host)
    for path, collection in table_collections(module):
        planned: dict[str, Any] = dict(plan.plan[path])  # pyright: ignore
        types = {name: how.sharding_type for name, how in planned.items()}
        check_pooling(collection, types)
        check_no_empty_rank(collection, planned)
        _check_algorithm(collection, types)


def check_pooling(collection: EmbeddingBagCollection, types: dict[str, str]) -> None:
    """Raise PlanError where MEAN pooling would be wrong under these sharding types, by table name.

    TorchRec divides row-wise tables by the bag length after the reduction, by a list that leaves out grid tables (which
    stay sums) and the tables of every other type beside them (which are divided twice). Means over weighted bags differ
    between sharding types.
    """
    means = [config.name for config in collection.embedding_bag_configs() if config.pooling is PoolingType.MEAN]
    if not means:
        return
    kinds = set(types.values())
    by_row = kinds & {"row_wise", "table_row_wise"}
    wrong = collection.is_weighted() or "grid_shard" in kinds or (by_row and kinds != by_row)
    if wrong:
        raise PlanError(
            f"Tables {', '.join(means)} pool by MEAN, which TorchRec computes wrongly beside sharding types "
            f"{', '.join(sorted(kinds))}{' on weighted features' if collection.is_weighted() else ''}. Pool by SUM and divide "
            "in the model, or shard all tables of the collection row_wise or table_row_wise, or none (and none grid_shard)."
        )


def changed_by(module: nn.Module) -> dict[str, str]:
    """Sharding types under which the attached fused optimizers are other algorithms, each with the reason."""
    return {kind: reason for _, weight in _tables(module) for kind, reason in _changed_by(weight).items()}


def check_fused_optimizer(
    algorithm: str, device: str, *, momentum: float, weight_decay: float, weight_decay_mode: str = "decoupled"
) -> None:
    """Raise ConfigError for a fused optimizer that the device's kernels lack or whose settings they ignore.

    The CPU kernels accept momentum and weight decay and do not apply them; SGD has no momentum on CUDA either.
    """
    if device not in ALGORITHMS[algorithm].devices:
        raise ConfigError(
            f"The sparse optimizer {algorithm} has no fused kernel on CPU. These run: {', '.join(CPU_ALGORITHMS)}."
        )
    if momentum:
        raise ConfigError(
            f"The sparse optimizer's momentum is {momentum}, which FBGEMM's fused kernels ignore. Set it to 0; "
            "the dense optimizer may have momentum."
        )
    decays = ALGORITHMS[algorithm].decays if device == "cuda" else ()
    if weight_decay and weight_decay_mode not in decays:
        can = f"It applies {' and '.join(decays)} decay" if decays else "Set it to 0"
        raise ConfigError(
            f"The sparse optimizer's weight_decay is {weight_decay}, which FBGEMM's fused {algorithm} ignores on {device} "
            f"(weight_decay_mode {weight_decay_mode}). {can}; the dense optimizer may have weight decay."
        )


def _check_algorithm(collection: EmbeddingBagCollection, types: dict[str, str]) -> None:
    changed = {name: _changed_by(weight).get(types[name]) for name, weight in _tables(collection)}
    found = [f"{name} is {types[name]}" for name, reason in changed.items() if reason]
    if found:
        reason = next(reason for reason in changed.values() if reason)
        raise PlanError(
            f"The plan does not go with the sparse optimizer ({'; '.join(found)}): {reason}. Change the optimizer, or plan "
            f"these tables as one of {', '.join(kind for kind in SHARDING_TYPES if kind not in changed_by(collection))}."
        )


def _tables(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for _, collection in table_collections(module):
        for name, bag in collection.embedding_bags.items():
            yield name, bag.weight  # pyright: ignore[reportReturnType]


def _changed_by(weight: nn.Parameter) -> dict[str, str]:
    """The same for one table, from what `torch.distributed.optim` notes on a parameter with a fused optimizer."""
    name, settings = attached(weight)
    algorithm = ALGORITHMS.get(name or "")
    if algorithm is None:
        return {}
    columns = (
        dict.fromkeys(sorted(SPLITS_COLUMNS), _COLUMNS_REASON.format(algorithm.per_row)) if algorithm.per_row else {}
    )
    if algorithm.is_lazy or settings.get("weight_decay"):
        return columns | {"data_parallel": _LAZY_REASON}
    return columns | ({"data_parallel": _CLIPPED_REASON} if settings.get("gradient_clipping") else {})
