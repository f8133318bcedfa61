"""From tables and ranks to a plan with its costs: TorchRec's planner, made deterministic and quiet."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import nn
from torchrec.distributed.planner import EmbeddingShardingPlanner
from torchrec.distributed.planner.enumerators import EmbeddingEnumerator
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import (
    ParameterConstraints,
    Partitioner,
    PerfModel,
    PlannerError,
    Proposer,
    ShardEstimator,
    ShardingOption,
    Stats,
    StorageReservation,
    Topology,
)
from torchrec.distributed.types import ModuleSharder, ShardingPlan

from data.errors import PlanError
from sharding_plans.machines.topology import live_topology
from sharding_plans.planning.estimators import default_estimators
from sharding_plans.planning.quiet import quiet_torchrec
from sharding_plans.types import SHARDING_TYPES

__all__ = ["Planned", "SortedEnumerator", "live_topology", "make_plan"]


@dataclass(frozen=True)
class Planned:
    """A sharding plan, what it was made for, and what TorchRec's estimators say that it costs.

    `options` has one entry per table; its shards carry rank, size, offset, storage in bytes and perf in milliseconds.
    """

    plan: ShardingPlan
    options: list[ShardingOption]
    topology: Topology
    local_batch_size: int
    num_proposals: int
    num_plans: int
    seconds: float


def make_plan(
    module: nn.Module,
    topology: Topology,
    *,
    local_batch_size: int,
    sharders: list[Any],
    constraints: dict[str, ParameterConstraints] | None = None,
    proposers: list[Proposer] | None = None,
    partitioner: Partitioner | None = None,
    reservation: StorageReservation | None = None,
    estimators: list[ShardEstimator] | None = None,
    rating: PerfModel | None = None,
) -> Planned:
    """TorchRec's best plan for the module's tables on the topology, the same in every process that asks for it.

    Needs neither a process group nor allocated tables (the meta device will do). Attach the fused optimizer first: the
    storage estimate counts its state. `estimators` and `rating` take the place of TorchRec's own for shards and for whole
    plans. Raises PlanError with the planner's reason where there is no plan; the planner's
    own exception is its `__cause__`.
    """
    capture = _CaptureBest()
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=local_batch_size,
        enumerator=SortedEnumerator(
            topology,
            local_batch_size,
            constraints,
            estimator=estimators or default_estimators(topology, constraints),
        ),
        performance_model=rating,
        storage_reservation=reservation or FixedPercentageStorageReservation(percentage=0.0),
        proposer=list(proposers) if proposers else None,
        partitioner=partitioner,
        stats=[capture],
        constraints=constraints,
        debug=False,
    )
    start = perf_counter()
    plan = _plan_or_reason(planner, module, sharders, topology)
    if not capture.options:
        raise PlanError("There is no table to plan for: the model has no EmbeddingBagCollection with tables.")
    num_proposals, num_plans = capture.counts
    seconds = perf_counter() - start
    return Planned(plan, capture.options, topology, local_batch_size, num_proposals, num_plans, seconds)


class SortedEnumerator(EmbeddingEnumerator):
    """Enumerates options in a fixed order.

    TorchRec 1.8.0 intersects constraints with the sharder's offer as sets of strings, so the order of the options, and with
    it the choice between equally good plans, changes from process to process with Python's hash seed: ranks that plan by
    themselves would disagree.
    """

    def _filter_sharding_types(self, *args: Any, **kwargs: Any) -> list[str]:
        return sorted(super()._filter_sharding_types(*args, **kwargs), key=_type_order)

    def _filter_compute_kernels(self, *args: Any, **kwargs: Any) -> list[str]:
        return sorted(super()._filter_compute_kernels(*args, **kwargs))


def _type_order(sharding_type: str) -> int:
    return SHARDING_TYPES.index(sharding_type)


class _CaptureBest(Stats):
    """Keeps what the planner hands its reporters: the chosen options and the size of the search."""

    def __init__(self) -> None:
        self.options: list[ShardingOption] = []
        self.counts = (0, 0)

    def log(
        self,
        sharding_plan: ShardingPlan,
        topology: Topology,
        batch_size: int,
        storage_reservation: StorageReservation,
        num_proposals: int,
        num_plans: int,
        run_time: float,
        best_plan: list[ShardingOption],
        *_: Any,
        **__: Any,
    ) -> None:
        self.options = best_plan
        self.counts = (num_proposals, num_plans)


def _plan_or_reason(
    planner: EmbeddingShardingPlanner, module: nn.Module, sharders: list[ModuleSharder[Any]], topology: Topology
) -> ShardingPlan:
    try:
        with quiet_torchrec():
            return planner.plan(module, sharders)
    except (PlannerError, RuntimeError, ValueError, ZeroDivisionError) as error:
        where = f"{topology.world_size} {topology.compute_device} rank{'s' if topology.world_size > 1 else ''}"
        raise PlanError(f"No sharding plan for {where}. {_readable(error)}") from error


def _readable(error: Exception) -> str:
    """The planner's own words, without blank lines and with one kind of indentation."""
    lines = [line.replace("\t", "  ").rstrip() for line in str(error).splitlines()]
    return "\n".join(line for line in lines if line.strip()) or type(error).__name__
