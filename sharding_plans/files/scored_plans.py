"""Making plan files, and giving a plan that is already there its costs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from torchrec.distributed.planner.types import ParameterConstraints, PlannerError, Shard, ShardingOption
from torchrec.distributed.planner.utils import build_sharder_data_map, sharder_name

from data.errors import PlanError
from sharding_plans.files.layout import PlanFile, Search, TablePlan
from sharding_plans.files.plan_conversion import plan_file_of, to_sharding_plan
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.machines.profile_topology import ranks_per_host
from sharding_plans.planning.estimators import default_estimators
from sharding_plans.planning.offline import Prepared, plan_offline, prepare
from sharding_plans.planning.planner import Planned, SortedEnumerator
from sharding_plans.planning.quiet import quiet_torchrec
from sharding_plans.planning.request import PlanRequest
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.tables.cache_statistics import cache_params


def make_plan_file(request: PlanRequest, *, on_proposal: Callable[[], Any] | None = None) -> PlanFile:
    """The request's plan with its costs; PlanError with the planner's reason where there is none."""
    planned = plan_offline(request, on_proposal=on_proposal)
    search = Search(num_proposals=planned.num_proposals, num_plans=planned.num_plans, seconds=round(planned.seconds, 3))
    return plan_file_of(request, planned.options, search)


def score(plan: PlanFile, *, hardware: HardwareProfile | None = None, global_batch_size: int | None = None) -> PlanFile:
    """The same layout with the costs that TorchRec's estimators give it, on its own or other hardware, for any batch.

    For a plan that the planner made, these are the planner's own figures. The layout may have been edited by hand. Raises
    PlanError where the hardware cannot carry the layout (another number of ranks per host, a kernel that is not there).
    """
    request = _request_of(plan, hardware, global_batch_size)
    scored = plan_file_of(request, _estimated(plan, prepare(request)), plan.search)
    return replace(scored, created=plan.created)


def planned_from(plan: PlanFile, module: nn.Module, *, device: str, global_batch_size: int) -> Planned:
    """A plan file as what the planner hands out for the module: to be applied on ranks of kind `device`, and shown.

    Costs are estimates for the plan's own hardware and the given batch. Check first that the plan fits the module.
    """
    prepared = prepare(_request_of(plan, None, global_batch_size))
    return Planned(
        plan=to_sharding_plan(plan, device=device, module=module),
        options=_estimated(plan, prepared),
        topology=prepared.topology,
        local_batch_size=prepared.request.local_batch_size,
        num_proposals=plan.search.num_proposals,
        num_plans=plan.search.num_plans,
        seconds=plan.search.seconds,
    )


def _request_of(plan: PlanFile, hardware: HardwareProfile | None, global_batch_size: int | None) -> PlanRequest:
    request = PlanRequest(
        model=plan.model,
        hardware=hardware or plan.hardware,
        num_ranks=plan.num_ranks,
        global_batch_size=global_batch_size or plan.global_batch_size,
        strategy=plan.strategy,
        reserved_fraction=plan.reserved_fraction,
    )
    _check_hosts(plan, request)
    return request


def _check_hosts(plan: PlanFile, request: PlanRequest) -> None:
    per_host = ranks_per_host(request.hardware, request.num_ranks)
    hosted = [
        table.name
        for table in plan.tables
        if table.sharding_type in ("table_row_wise", "table_column_wise", "grid_shard")
    ]
    if per_host != plan.ranks_per_host and hosted:
        raise PlanError(
            f"The plan is for {plan.ranks_per_host} ranks a host, {request.hardware.name} has {per_host}; "
            f"{len(hosted)} tables are laid out by host ({hosted[0]} first). Plan for that hardware instead."
        )


def _estimated(plan: PlanFile, prepared: Prepared) -> list[ShardingOption]:
    """One option per table, laid out as the plan says, with TorchRec's estimates for each shard."""
    sharder: Any = EveryTypeSharder()
    batch_size = prepared.request.global_batch_size
    constraints = {table.name: _pinned(table, batch_size) for table in plan.tables}
    topology, batch = prepared.topology, prepared.request.local_batch_size
    try:
        with quiet_torchrec():
            enumerator = SortedEnumerator(
                topology, batch, constraints, estimator=default_estimators(topology, constraints)
            )
            options = enumerator.enumerate(prepared.module, [sharder])
            by_name = {option.name: option for option in options}
            for table in plan.tables:
                by_name[table.name].shards = [_bare(shard.size, shard.offset, shard.rank) for shard in table.shards]
            sharder_data = build_sharder_data_map({sharder_name(sharder.module_type): sharder})
            for estimator in default_estimators(topology, constraints):
                estimator.estimate(options, sharder_data)
    except (PlannerError, RuntimeError, ValueError) as error:
        raise PlanError(f"The plan cannot be scored on {prepared.request.hardware.name}: {error}") from error
    return options


def _bare(size: tuple[int, int], offset: tuple[int, int], rank: int) -> Shard:
    return Shard(size=list(size), offset=list(offset), rank=rank)


def _pinned(table: TablePlan, global_batch_size: int) -> ParameterConstraints:
    return ParameterConstraints(
        sharding_types=[table.sharding_type],
        compute_kernels=[table.compute_kernel],
        pooling_factors=list(table.spec.pooling_factors),
        is_weighted=table.spec.is_weighted,
        cache_params=cache_params(table.spec, table.cache_load_factor, global_batch_size),
    )
