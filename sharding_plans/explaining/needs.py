"""How much memory each table needs at least, and whether that can be there at all: bounds that hold before any search."""

from dataclasses import dataclass
from typing import Any

from torchrec.distributed.planner.types import ShardingOption

from sharding_plans.guards.guards import changed_by
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.planning.estimators import default_estimators
from sharding_plans.planning.offline import Budget, prepare
from sharding_plans.planning.planner import SortedEnumerator
from sharding_plans.planning.quiet import quiet_torchrec
from sharding_plans.planning.request import PlanRequest
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.strategies.strategy_constraints import check_device, table_constraints
from sharding_plans.tables.table_specs import TableSpec

TIERS = ("hbm", "ddr")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to lay a table out, by what it takes: bytes of its largest shard and of all shards, in each tier."""

    sharding_type: str
    compute_kernel: str
    largest: tuple[int, int]
    total: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class TableNeed:
    """One table: every way in which it may be laid out."""

    spec: TableSpec
    ways: tuple[Way, ...]

    def least_total(self, tier: int) -> int:
        """Bytes over all ranks in the way that takes least of that tier."""
        return min(way.total[tier] for way in self.ways)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """All tables of a request beside the room there is."""

    tables: tuple[TableNeed, ...]
    room: tuple[int, int]
    """Bytes that tables may fill of one rank's HBM and of its share of host memory."""
    num_ranks: int
    budget: Budget

    @property
    def too_large(self) -> tuple[TableNeed, ...]:
        """Tables of which no way has a largest shard that fits an empty rank, largest first."""
        found = [table for table in self.tables if not any(self._fits(way.largest, self.room) for way in table.ways)]
        return tuple(sorted(found, key=lambda table: -table.spec.bytes_with_state))

    def closest(self, table: TableNeed) -> tuple[int, int]:
        """Of the ways of a table that fits nowhere, the one that comes closest, as (tier that it overfills, bytes
        that its largest shard needs there).
        """
        ratios = [
            (max(_ratio(way.largest[tier], self.room[tier]) for tier in range(len(TIERS))), way) for way in table.ways
        ]
        way = min(ratios, key=lambda pair: pair[0])[1]
        tier = max(range(len(TIERS)), key=lambda tier: _ratio(way.largest[tier], self.room[tier]))
        return tier, way.largest[tier]

    @property
    def short_tier(self) -> int | None:
        """The tier that all tables together overfill even when each takes the least of it; None where none is."""
        for tier in range(len(TIERS)):
            if sum(table.least_total(tier) for table in self.tables) > self.num_ranks * self.room[tier]:
                return tier
        both = sum(min(sum(way.total) for way in table.ways) for table in self.tables)
        return 0 if both > self.num_ranks * sum(self.room) and self.room[0] else None

    @property
    def may_fit(self) -> bool:
        """False when no plan can exist; True does not promise one."""
        return not self.too_large and self.short_tier is None

    @staticmethod
    def _fits(taken: tuple[int, int], room: tuple[int, int]) -> bool:
        return taken[0] <= room[0] and taken[1] <= room[1]


def table_needs(request: PlanRequest) -> Needs:
    """What the request's tables need at least; InfeasiblePlan where a table has no way at all, naming it."""
    check_device(request.strategy, request.hardware.device)
    prepared = prepare(request)
    excluded = changed_by(prepared.module)
    constraints = table_constraints(request.strategy, request.model, excluded)
    sharder: Any = EveryTypeSharder(excluded=excluded)
    estimators = default_estimators(prepared.topology, constraints)
    enumerator = SortedEnumerator(prepared.topology, request.local_batch_size, constraints, estimator=estimators)
    try:
        with quiet_torchrec():
            options = enumerator.enumerate(prepared.module, [sharder])
    except RuntimeError as error:
        raise InfeasiblePlan(str(error)) from error
    ways: dict[str, list[Way]] = {table.name: [] for table in request.model.tables}
    for option in options:
        ways[option.name].append(_way(option))
    storage = prepared.reserved.devices[0].storage
    return Needs(
        tables=tuple(TableNeed(spec=table, ways=tuple(ways[table.name])) for table in request.model.tables),
        room=(storage.hbm, storage.ddr),
        num_ranks=request.num_ranks,
        budget=prepared.budget,
    )


def _ratio(taken: int, room: int) -> float:
    return taken / room if room else float("inf") if taken else 0.0


def _way(option: ShardingOption) -> Way:
    taken = [(int(shard.storage.hbm), int(shard.storage.ddr)) for shard in option.shards if shard.storage is not None]
    return Way(
        sharding_type=option.sharding_type,
        compute_kernel=option.compute_kernel,
        largest=(max(hbm for hbm, _ in taken), max(ddr for _, ddr in taken)),
        total=(sum(hbm for hbm, _ in taken), sum(ddr for _, ddr in taken)),
    )
