"""A plan as plain data: which piece of which table lies on which rank, and what it is estimated to cost. Light: no torch here."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.tables.table_specs import ModelTables, TableSpec


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Estimated by TorchRec's cost model: bytes of memory, milliseconds of a training step. They add up over a rank's shards."""

    hbm_bytes: int = 0
    ddr_bytes: int = 0
    input_dist_ms: float = 0.0
    """Ids to the ranks that look them up. Hidden behind the batch before by the train pipeline, so no part of `step_ms`."""
    forward_ms: float = 0.0
    """The lookup itself."""
    output_dist_ms: float = 0.0
    """Pooled embeddings back to the ranks of their rows."""
    backward_ms: float = 0.0
    """Gradients into the tables, optimizer step included."""
    gradient_dist_ms: float = 0.0
    """Gradients back to the ranks of the tables (all-reduce for data-parallel tables)."""
    prefetch_ms: float = 0.0
    """Rows from host memory into the cache on the GPU."""

    @property
    def step_ms(self) -> float:
        """What TorchRec's planner minimises on the slowest rank: all but the input dist, one after the other."""
        return self.forward_ms + self.backward_ms + self.output_dist_ms + self.gradient_dist_ms + self.prefetch_ms

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One piece of a table and the rank that holds it; a data-parallel table has one piece, the whole of it, per rank."""

    rank: int
    offset: tuple[int, int]
    """First row and first column."""
    size: tuple[int, int]
    """Rows and columns; 0 rows where there are more ranks than rows."""
    cost: Cost = Cost()

    @property
    def area(self) -> int:
        return self.size[0] * self.size[1]


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """One table: how it is split, by which kernel it is looked up, where its shards are."""

    spec: TableSpec
    sharding_type: str
    compute_kernel: str
    cache_load_factor: float | None = None
    """Share of the rows cached on the GPU (fused_uvm_caching)."""
    shards: tuple[ShardPlan, ...]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that hold anything of it, ascending."""
        return tuple(sorted({shard.rank for shard in self.shards if shard.area}))

    @property
    def where(self) -> str:
        """Its ranks in short: "0-3", "0,2", "5"."""
        runs: list[list[int]] = []
        for rank in self.ranks:
            if runs and rank == runs[-1][1] + 1:
                runs[-1][1] = rank
            else:
                runs.append([rank, rank])
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)

    @property
    def cost(self) -> Cost:
        return total(shard.cost for shard in self.shards)

    @property
    def slowest_ms(self) -> float:
        """Milliseconds on the rank that this table keeps busy longest."""
        by_rank: dict[int, float] = {}
        for shard in self.shards:
            by_rank[shard.rank] = by_rank.get(shard.rank, 0.0) + shard.cost.step_ms
        return max(by_rank.values(), default=0.0)

    @property
    def split(self) -> tuple[tuple[int, int, int, int], ...]:
        """How it is cut, wherever the pieces lie."""
        return tuple(sorted((*shard.offset, *shard.size) for shard in self.shards))


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the plan was found."""

    num_proposals: int = 0
    num_plans: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """A plan with all that it was made for and all that it is estimated to cost."""

    tables: tuple[TablePlan, ...]
    hardware: HardwareProfile
    num_ranks: int
    ranks_per_host: int
    global_batch_size: int
    local_batch_size: int
    strategy: Strategy
    reserved_fraction: float = 0.0
    dense_bytes: int = 0
    capacity_bytes: int = 0
    """What tables may fill of one rank's main memory (HBM on a GPU, DDR on a CPU), after everything that is set aside."""
    host_capacity_bytes: int = 0
    """What tables may fill of a rank's share of host memory."""
    calibrated_ms: dict[str, float] | None = None
    """Milliseconds of each part of the step by the hardware's calibration; none: TorchRec's estimates stand alone."""
    search: Search = Search()
    versions: tuple[tuple[str, str], ...] = ()
    created: str = ""

    @cached_property
    def model(self) -> ModelTables:
        return ModelTables(tables=tuple(table.spec for table in self.tables), dense_bytes=self.dense_bytes)

    @cached_property
    def rank_costs(self) -> tuple[Cost, ...]:
        """The sum over each rank's shards, by rank."""
        costs: list[list[Cost]] = [[] for _ in range(self.num_ranks)]
        for table in self.tables:
            for shard in table.shards:
                costs[shard.rank].append(shard.cost)
        return tuple(total(of_rank) for of_rank in costs)

    @property
    def slowest_rank(self) -> int:
        return max(range(self.num_ranks), key=lambda rank: self.rank_costs[rank].step_ms)

    @property
    def step_ms(self) -> float:
        """Milliseconds of the slowest rank, which the others wait for; with a calibration, of all parts, input dist included."""
        if self.calibrated_ms is not None:
            return sum(self.calibrated_ms.values())
        return self.rank_costs[self.slowest_rank].step_ms

    @property
    def fits(self) -> bool:
        """Whether every rank's tables fit what is left of its memory."""
        hbm, ddr = self.capacity_bytes, self.host_capacity_bytes
        if self.hardware.device == "cpu":
            return all(cost.ddr_bytes <= self.capacity_bytes for cost in self.rank_costs)
        return all(cost.hbm_bytes <= hbm and cost.ddr_bytes <= ddr for cost in self.rank_costs)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over tables and layout; costs, time and versions have no part in it."""
        layout = [
            [table.name, table.sharding_type, table.compute_kernel, table.cache_load_factor]
            + [[shard.rank, shard.offset, shard.size] for shard in table.shards]
            for table in self.tables
        ]
        text = json.dumps([self.model.fingerprint, self.num_ranks, layout])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def table(self, name: str) -> TablePlan | None:
        return next((table for table in self.tables if table.name == name), None)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of the costs, in their order."""
    return sum(costs, start=Cost())
