"""The fewest ranks of one kind of hardware on which a model has a plan."""

from collections.abc import Sequence

from sharding_plans.comparing.comparison import SmallestFit
from sharding_plans.explaining.feasibility import Checker
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.machines.profile_topology import usable_rank_counts
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.tables.table_specs import ModelTables

GIB = 2**30
UP_TO = 256

# Row-wise splits most evenly and has one proposal to try; the free searches find what it cannot (tables of few rows).
_IN_DEVICE = (
    Strategy(name="row_wise", sharding_types=("row_wise",), compute_kernels=("fused",)),
    Strategy(name="in_device_memory", compute_kernels=("fused",)),
)
_WITH_HOST = (Strategy(name="with_host_memory", proposers=("uniform", "greedy")),)


def smallest_fit(
    model: ModelTables,
    hardware: HardwareProfile,
    *,
    global_batch_size: int,
    reserved_fraction: float,
    up_to: int = UP_TO,
) -> SmallestFit:
    """The fewest ranks, in powers of two and whole hosts, on which the model has a plan for the same global batch."""
    counts = [n for n in usable_rank_counts(hardware, up_to) if n <= global_batch_size]
    request = PlanRequest(
        model=model,
        hardware=hardware,
        num_ranks=1,
        global_batch_size=global_batch_size,
        strategy=_IN_DEVICE[0],
        reserved_fraction=reserved_fraction,
    )
    device_gib = hardware.host_memory_gib / hardware.ranks_per_host if hardware.device == "cpu" else hardware.hbm_gib
    in_device = _first(request, _IN_DEVICE, counts, device_gib)
    fewer = [n for n in counts if in_device is None or n < in_device]
    host_gib = hardware.hbm_gib + hardware.host_memory_gib if hardware.device == "cuda" else 0.0
    with_host = _first(request, _WITH_HOST, fewer, host_gib) if hardware.device == "cuda" else None
    return SmallestFit(
        hardware=hardware.name,
        description=hardware.description,
        in_device_memory=in_device,
        with_host_memory=with_host if with_host is not None else in_device,
        tried_up_to=up_to,
    )


def _first(request: PlanRequest, strategies: Sequence[Strategy], counts: Sequence[int], rank_gib: float) -> int | None:
    """The first count on which a strategy has a plan; counts whose memory cannot even hold the weights are passed over."""
    held = sum(table.bytes_with_state for table in request.model.tables) / GIB
    checker = Checker()
    for count in counts:
        if count * rank_gib < held:
            continue
        if any(checker(request.change(num_ranks=count, strategy=strategy)) for strategy in strategies):
            return count
    return None
