"""What the user may say about the plan, as settings. No torch here: the command line reads this before anything heavy."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from data.errors import ConfigError
from sharding_plans.names import nearest_first
from sharding_plans.types import SHARDING_TYPES, ShardingTypeName


@dataclass(frozen=True, kw_only=True)
class TableConstraint:
    """What the planner may do with the tables of one pattern; what is left out is free."""

    sharding_types: tuple[ShardingTypeName, ...] | None = None
    """Sharding types to choose from."""
    compute_kernels: tuple[str, ...] | None = None
    """Kernels to choose from, by TorchRec's names (on CPU only `fused`, and `dense` for data-parallel tables)."""
    min_partition: int | None = None
    """Width in columns of a column shard; TorchRec takes 128, or the whole table where it is narrower."""

    def __post_init__(self) -> None:
        if self.sharding_types is not None:
            _check_types("sharding.tables.<pattern>.sharding_types", self.sharding_types)
        if self.compute_kernels is not None and not self.compute_kernels:
            raise ConfigError(
                "sharding.tables.<pattern>.compute_kernels is empty: name a kernel, or leave the key out."
            )
        if self.min_partition is not None and (self.min_partition < 4 or self.min_partition % 4):
            raise ConfigError(
                f"sharding.tables.<pattern>.min_partition is {self.min_partition}: column shards are a multiple of 4 wide."
            )


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How TorchRec's planner may lay the tables over the ranks."""

    sharding_types: tuple[ShardingTypeName, ...] = SHARDING_TYPES
    """Sharding types that the planner may choose from, for tables without an entry of their own in `tables`."""
    tables: dict[str, TableConstraint] = field(default_factory=dict)
    """Constraints by table name or pattern (`C*`, `t_[12]`); later entries win over earlier ones, exact names over patterns."""
    reserved_fraction: float = 0.0
    """Share of each rank's memory that the planner keeps free for the dense part and activations, from 0 to below 1."""
    hbm_gib: float | None = None
    """Device memory per rank in GiB to plan for; by default what the device has. No meaning on CPU."""
    ddr_gib: float | None = None
    """Host memory per rank in GiB to plan for; by default the rank's share of the host."""

    def __post_init__(self) -> None:
        _check_types("sharding.sharding_types", self.sharding_types)
        if not 0.0 <= self.reserved_fraction < 1.0:
            raise ConfigError(
                f"sharding.reserved_fraction is {self.reserved_fraction}; it is a share, from 0 to below 1."
            )
        for key, gib in (("hbm_gib", self.hbm_gib), ("ddr_gib", self.ddr_gib)):
            if gib is not None and not gib > 0:
                raise ConfigError(f"sharding.{key} is {gib}; it must be above 0 GiB.")

    def constraint_of(self, table: str) -> TableConstraint:
        """All entries of `tables` that speak of one table, merged; sharding types default to `sharding_types`."""
        merged = TableConstraint(sharding_types=self.sharding_types)
        for pattern in sorted(self.tables, key=lambda pattern: pattern == table):
            if fnmatchcase(table, pattern):
                merged = _override(merged, self.tables[pattern])
        return merged

    def asks_for(self, table: str) -> tuple[str, ...] | None:
        """The sharding types that `tables` names for one table, or None where no entry does."""
        asked = [entry.sharding_types for pattern, entry in self.tables.items() if fnmatchcase(table, pattern)]
        return self.constraint_of(table).sharding_types if any(asked) else None

    def check_tables(self, tables: list[str]) -> None:
        """Raise ConfigError for a pattern that no table matches, with the known tables, nearest first."""
        for pattern in self.tables:
            if not any(fnmatchcase(table, pattern) for table in tables):
                known = nearest_first(pattern, tables)
                raise ConfigError(f"sharding.tables.{pattern} matches no table. The tables are {', '.join(known)}.")


def _override(below: TableConstraint, above: TableConstraint) -> TableConstraint:
    return TableConstraint(
        sharding_types=above.sharding_types or below.sharding_types,
        compute_kernels=above.compute_kernels or below.compute_kernels,
        min_partition=above.min_partition or below.min_partition,
    )


def _check_types(key: str, types: tuple[str, ...]) -> None:
    unknown = [name for name in types if name not in SHARDING_TYPES]
    if unknown:
        known = ", ".join(nearest_first(unknown[0], SHARDING_TYPES))
        raise ConfigError(f"{key} names {', '.join(unknown)}, which is no sharding type. They are {known}.")
    if not types:
        raise ConfigError(f"{key} is empty: leave the key out, or name some of {', '.join(SHARDING_TYPES)}.")
