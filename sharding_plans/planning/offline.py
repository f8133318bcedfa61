"""Planning for hardware that need not be there: tables on the meta device, no GPU, no process group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchrec.distributed.planner.types import ParameterConstraints, Topology

from data.errors import PlanError
from sharding_plans.calibrating.calibration import calibration_of
from sharding_plans.calibrating.hooks import CalibratedPlans, CalibratedShards
from sharding_plans.guards.guards import changed_by
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.machines.profile_topology import topology_of
from sharding_plans.planning.constraints import MemoryReservation
from sharding_plans.planning.estimators import default_estimators
from sharding_plans.planning.planner import Planned, make_plan
from sharding_plans.planning.request import DENSE_COPIES, PlanRequest
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.strategies.strategy_constraints import (
    build_partitioner,
    build_proposers,
    check_device,
    table_constraints,
)
from sharding_plans.tables.from_model import build_tables_module


@dataclass(frozen=True)
class Budget:
    """Bytes of one rank's memory tier: what there is, what is set aside for what, what is left for tables."""

    tier: str
    capacity: int
    reserved: int
    dense: int
    batches: int

    @property
    def available(self) -> int:
        return max(0, self.capacity - self.reserved - self.dense - self.batches)


class Reservation(MemoryReservation):
    """Sets aside a fraction of each rank's memory, the dense part, and the batches in flight (TorchRec: 20 copies of the ids).

    Nothing here fails for want of memory: what is left for tables is then 0, and the planner says what does not fit.
    """

    def __init__(self, percentage: float, dense_bytes: int) -> None:
        super().__init__(percentage)
        self._dense_bytes = DENSE_COPIES * dense_bytes

    def reserve(self, topology: Topology, *args: Any, **kwargs: Any) -> Topology:
        reserved = super().reserve(topology, *args, **kwargs)
        tier = main_tier(topology)
        assert self._kjt_storage is not None
        taken = self._dense_bytes + getattr(self._kjt_storage, tier)
        for device in reserved.devices:
            setattr(device.storage, tier, max(0, getattr(device.storage, tier) - taken))
        self._last_reserved_topology = reserved
        return reserved

    def budget(self, topology: Topology, percentage: float) -> Budget:
        """Where one rank's memory goes, after `reserve`."""
        tier = main_tier(topology)
        capacity = getattr(topology.devices[0].storage, tier)
        assert self._kjt_storage is not None
        batches = getattr(self._kjt_storage, tier)
        return Budget(tier, capacity, capacity - int((1 - percentage) * capacity), self._dense_bytes, batches)


@dataclass(frozen=True)
class Prepared:
    """A request in TorchRec's terms."""

    request: PlanRequest
    module: nn.Module
    topology: Topology
    reserved: Topology
    """The topology after the reservation: what tables may fill."""
    budget: Budget


def prepare(request: PlanRequest) -> Prepared:
    """The request's tables as a module, its hardware as a topology, and what of each rank's memory tables may fill."""
    module = build_tables_module(request.model)
    topology = topology_of(request.hardware, request.num_ranks)
    reservation = Reservation(request.reserved_fraction, request.model.dense_bytes)
    pooling = table_constraints(STRATEGIES["planner"], request.model, {})
    reserved = reservation.reserve(topology, request.local_batch_size, module, [EveryTypeSharder()], pooling)
    return Prepared(request, module, topology, reserved, reservation.budget(topology, request.reserved_fraction))


def plan_offline(
    request: PlanRequest, *, first_plan_only: bool = False, on_proposal: Callable[[], Any] | None = None
) -> Planned:
    """The request's plan with TorchRec's estimates; InfeasiblePlan with the planner's reason where there is none.

    `first_plan_only` stops at the first plan that fits instead of the best. `on_proposal` is called for each of the planner's
    proposals, for a progress bar. Raises PlanError for a request that makes no sense (ranks that do not fill hosts, a rule for
    a table that is not there).
    """
    check_device(request.strategy, request.hardware.device)
    module = build_tables_module(request.model)
    excluded = changed_by(module)
    search = {
        "sharders": [EveryTypeSharder(excluded=excluded)],
        "constraints": table_constraints(request.strategy, request.model, excluded, request.global_batch_size),
        "proposers": build_proposers(
            request.strategy,
            num_tables=len(request.model.tables),
            num_ranks=request.num_ranks,
            first_plan_only=first_plan_only,
            on_proposal=on_proposal,
        ),
        "partitioner": build_partitioner(request.strategy, request.model),
        "reservation": Reservation(request.reserved_fraction, request.model.dense_bytes),
    }
    topology = topology_of(request.hardware, request.num_ranks)
    search |= calibrated_search(request, topology, search["constraints"])
    try:
        return make_plan(module, topology, local_batch_size=request.local_batch_size, **search)
    except PlanError as error:
        if error.__cause__ is None:
            raise
        raise InfeasiblePlan(str(error)) from error.__cause__


def calibrated_search(
    request: PlanRequest, topology: Topology, constraints: dict[str, ParameterConstraints]
) -> dict[str, Any]:
    """The estimators and the rating of plans by the hardware's calibration; nothing where it has none for these ranks."""
    calibration = calibration_of(request.hardware.calibration)
    if calibration is None or str(request.num_ranks) not in calibration.costs:
        return {}
    group = calibration.group(request.num_ranks, request.local_batch_size)
    storage = default_estimators(topology, constraints)[-1]
    return {
        "estimators": [CalibratedShards(calibration, request.model, group), storage],
        "rating": CalibratedPlans(calibration, request.model, group),
    }


def main_tier(topology: Topology) -> str:
    """The memory that a rank computes from: "hbm" on a GPU, "ddr" on a CPU."""
    return "ddr" if topology.compute_device == "cpu" else "hbm"
