"""From the user's settings to what TorchRec's planner reads."""

from collections.abc import Iterable, Mapping

from torch import nn
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import ParameterConstraints, Topology

from data.errors import PlanError
from data.schema import SparseFeature
from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.guards.empty_shards import leaves_a_rank_empty
from sharding_plans.guards.guards import changed_by
from sharding_plans.guards.plan_checks import table_collections
from sharding_plans.planning.one_rank import are_small, faster_types
from sharding_plans.types import SPLITS_ROWS


def build_constraints(
    config: PlanConfig,
    module: nn.Module,
    *,
    num_ranks: int,
    features: Iterable[SparseFeature] = (),
    device: str = "cpu",
    local_batch_size: int = 0,
) -> dict[str, ParameterConstraints]:
    """Constraints for every table of the module, by name.

    Attach the fused optimizer first: sharding types under which it would be another algorithm leave the search, and asking
    for one of them raises PlanError. One rank has nothing to split: there tables are table-wise, or data-parallel where all
    are small for a batch of `local_batch_size` rows; and a table with too few rows for all CPU ranks is not split by rows.
    Unless the user asks for it by the table's name. `features` give the pooling factors that the estimates need (1.0
    otherwise). Raises ConfigError for a pattern that matches no table.
    """
    tables = {table.name: table for _, ebc in table_collections(module) for table in ebc.embedding_bag_configs()}
    config.check_tables(list(tables))
    excluded = changed_by(module)
    pooling = {feature.name: feature.pooling_factor for feature in features}
    all_are_small = device == "cpu" and not config.tables and are_small(tables.values(), pooling, local_batch_size)
    constraints = {}
    for table, described in tables.items():
        wanted = config.constraint_of(table)
        asked = config.asks_for(table)
        types = _allowed_types(table, wanted, asked, excluded)
        if not asked:
            types = _sensible_types(types, described.num_embeddings, num_ranks, device)
        if num_ranks == 1 and not asked and not wanted.compute_kernels:
            types = faster_types(types, described, all_are_small=all_are_small)
        constraints[table] = ParameterConstraints(
            sharding_types=types,
            compute_kernels=list(wanted.compute_kernels) if wanted.compute_kernels else None,
            min_partition=wanted.min_partition,
            pooling_factors=[pooling.get(feature, 1.0) for feature in described.feature_names],
        )
    return constraints


class MemoryReservation(FixedPercentageStorageReservation):
    """Keeps a fraction of each rank's memory free: of HBM as TorchRec does, and of DDR where the ranks are CPU ranks."""

    def reserve(self, topology: Topology, *args: object, **kwargs: object) -> Topology:
        reserved = super().reserve(topology, *args, **kwargs)  # pyright: ignore[reportArgumentType]
        if reserved.compute_device == "cpu":
            for device in reserved.devices:
                device.storage.ddr = int((1 - self._percentage) * device.storage.ddr)
        return reserved


def _allowed_types(
    table: str, wanted: TableConstraint, asked: tuple[str, ...] | None, excluded: Mapping[str, str]
) -> list[str]:
    refused = [kind for kind in asked or () if kind in excluded]
    if refused:
        raise PlanError(
            f"sharding.tables asks for table {table} to be {' or '.join(refused)}, but {excluded[refused[0]]}."
        )
    types = [kind for kind in wanted.sharding_types or () if kind not in excluded]
    if not types:
        raise PlanError(
            f"No sharding type is left for table {table}: sharding.sharding_types is {', '.join(wanted.sharding_types or ())}, "
            f"but {next(iter(excluded.values()))}. Allow table_wise, row_wise, table_row_wise or data_parallel."
        )
    return types


def _sensible_types(types: list[str], rows: int, num_ranks: int, device: str) -> list[str]:
    """Those of a table's types that split something, and leave no CPU rank without a row; all of them if that leaves none."""
    if num_ranks == 1:
        return [kind for kind in types if kind in ("table_wise", "data_parallel")] or types
    if device == "cpu" and leaves_a_rank_empty(rows, num_ranks):
        return [kind for kind in types if kind not in SPLITS_ROWS] or types
    return types
