"""Strategies: named, declarative ways to search for a plan. Light: no torch here.

A strategy says which sharding types and kernels tables may take, how TorchRec's planner searches and how it places shards. One of
your own is a YAML file with the same keys; nothing here has to change for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.errors import PlanError
from sharding_plans.names import unknown_name
from sharding_plans.types import SHARDING_TYPES

PROPOSERS = (
    "grid_search",
    "greedy",
    "greedy_by_sum",
    "uniform",
    "dynamic_programming",
    "offload_scale_up",
    "local_search",
)
PARTITIONERS = ("greedy", "greedy_by_time", "memory_balanced")
KERNELS = ("dense", "fused", "fused_uvm", "fused_uvm_caching")
TORCHREC_PROPOSERS = ("grid_search", "greedy", "greedy_by_sum", "uniform")


@dataclass(frozen=True, kw_only=True)
class TableRule:
    """What the tables of one name or pattern may take; what is left out stays as the strategy has it."""

    sharding_types: tuple[str, ...] | None = None
    """Sharding types to choose from."""
    compute_kernels: tuple[str, ...] | None = None
    """Kernels to choose from."""
    min_partition: int | None = None
    """Width of a column shard, in columns."""
    cache_load_factor: float | None = None
    """Share of the rows that fused_uvm_caching keeps in GPU memory."""
    rank: int | None = None
    """Put the whole table (table-wise) on this rank."""

    def __post_init__(self) -> None:
        _check_choices("sharding type", self.sharding_types, SHARDING_TYPES)
        _check_choices("compute kernel", self.compute_kernels, KERNELS)
        _check_width("min_partition", self.min_partition)
        _check_share("cache_load_factor", self.cache_load_factor)
        if self.rank is not None and (isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 0):
            raise PlanError(f"rank is {self.rank!r}; expected the number of a rank, 0 or more.")


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way to search for a plan, by name."""

    name: str
    description: str = ""
    sharding_types: tuple[str, ...] | None = None
    """Sharding types to choose from; none: all but grid_shard, which TorchRec takes only when asked."""
    compute_kernels: tuple[str, ...] | None = None
    """Kernels to choose from; none: all that the device has."""
    column_shard_width: int | None = None
    """Width of a column shard, in columns; narrower tables are halved. None: TorchRec's own, 128."""
    data_parallel_below_mib: float | None = None
    """Tables up to this size (weights, MiB) are kept whole on every rank, larger ones never."""
    offload_above_mib: float | None = None
    """Tables above this size (weights, MiB) live in host memory behind a cache on the GPU."""
    cache_load_factor: float | None = None
    """Share of the rows that such a cache holds."""
    proposers: tuple[str, ...] = TORCHREC_PROPOSERS
    """Proposers to ask, in order: TorchRec's, and `local_search`, which changes one table at a time where the plan gains."""
    partitioner: str = "greedy"
    """How shards are placed on the rank with least to do: the largest first (greedy), the slowest first (greedy_by_time); or
    memory_balanced."""
    tables: Mapping[str, TableRule] = field(default_factory=dict)
    """Rules by table name or pattern (`t_cat_*`); later ones win over earlier ones."""
    together: tuple[tuple[str, ...], ...] = ()
    """Groups of tables (names or patterns) that are kept whole and share one rank."""

    def __post_init__(self) -> None:
        _check_choices("sharding type", self.sharding_types, SHARDING_TYPES)
        _check_choices("compute kernel", self.compute_kernels, KERNELS)
        _check_choices("proposer", self.proposers, PROPOSERS)
        _check_choices("partitioner", (self.partitioner,), PARTITIONERS)
        _check_width("column_shard_width", self.column_shard_width)
        _check_share("cache_load_factor", self.cache_load_factor)


def _check_choices(kind: str, given: tuple[str, ...] | None, known: tuple[str, ...]) -> None:
    if given is None:
        return
    if isinstance(given, str) or not given:
        raise PlanError(f"Expected a list of {kind}s, found {given!r}; known are {', '.join(known)}.")
    for name in given:
        if name not in known:
            raise PlanError(unknown_name(kind, str(name), known))


def _check_width(key: str, width: int | None) -> None:
    if width is not None and (not isinstance(width, int) or width < 4 or width % 4):
        raise PlanError(f"{key} is {width!r}; column shards are a multiple of 4 columns wide.")


def _check_share(key: str, share: float | None) -> None:
    if share is not None and (not isinstance(share, int | float) or not 0 < share < 1):
        raise PlanError(f"{key} is {share!r}; it is a share, above 0 and below 1.")
