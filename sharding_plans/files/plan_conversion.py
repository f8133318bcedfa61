"""Between TorchRec's plans and ours: both ways without loss."""

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharding_spec.api import EnumerableShardingSpec
from torchrec.distributed.planner.types import Shard, ShardingOption, Topology
from torchrec.distributed.sharding_plan import placement
from torchrec.distributed.types import (
    CacheParams,
    EmbeddingModuleShardingPlan,
    ParameterSharding,
    ShardingPlan,
)

from sharding_plans.files.calibrated import with_calibrated_parts
from sharding_plans.files.layout import Cost, PlanFile, Search, ShardPlan, TablePlan
from sharding_plans.guards.plan_checks import table_collections
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.machines.topology import BYTES_PER_MS, GIB
from sharding_plans.planning.offline import Prepared, prepare
from sharding_plans.planning.planner import Planned
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.tables.table_specs import ModelTables, TableSpec

_PACKAGES = ("shardline", "torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu")


def plan_file_of(request: PlanRequest, options: Iterable[ShardingOption], search: Search) -> PlanFile:
    """The options of a plan as a plan file, with what the request was."""
    prepared = prepare(request)
    specs = {table.name: table for table in request.model.tables}
    by_name = {option.name: option for option in options}
    return with_calibrated_parts(_plan_file(request, prepared, specs, by_name, search))


def _plan_file(
    request: PlanRequest,
    prepared: Prepared,
    specs: dict[str, TableSpec],
    by_name: dict[str, ShardingOption],
    search: Search,
) -> PlanFile:
    return PlanFile(
        tables=tuple(table_plan(specs[name], by_name[name]) for name in specs),
        hardware=request.hardware,
        num_ranks=request.num_ranks,
        ranks_per_host=prepared.topology.local_world_size,
        global_batch_size=request.global_batch_size,
        local_batch_size=request.local_batch_size,
        strategy=request.strategy,
        reserved_fraction=request.reserved_fraction,
        dense_bytes=request.model.dense_bytes,
        capacity_bytes=getattr(prepared.reserved.devices[0].storage, prepared.budget.tier),
        host_capacity_bytes=prepared.reserved.devices[0].storage.ddr,
        search=search,
        versions=installed_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def table_plan(spec: TableSpec, option: ShardingOption) -> TablePlan:
    """One of TorchRec's placed sharding options as a table's part of a plan file."""
    return TablePlan(
        spec=spec,
        sharding_type=option.sharding_type,
        compute_kernel=option.compute_kernel,
        cache_load_factor=option.cache_load_factor,
        shards=tuple(_shard_plan(shard) for shard in option.shards),
    )


def to_sharding_plan(plan: PlanFile, *, device: str | None = None, module: nn.Module | None = None) -> ShardingPlan:
    """The plan as TorchRec takes it, exactly as its planner would hand it out.

    `device` is where shards are placed, by default what the plan was made for. With a `module`, tables go by name to the
    collections that hold them there, wherever these stood in the model that was planned for.
    """
    paths = _paths_by_table(module) if module is not None else {}
    found: dict[str, Any] = {}
    for table in plan.tables:
        of_module = found.setdefault(paths.get(table.name, table.spec.module), EmbeddingModuleShardingPlan())
        of_module[table.name] = _parameter_sharding(table, device or plan.hardware.device, plan.ranks_per_host)
    return ShardingPlan(found)


def live_plan_file(
    planned: Planned, model: ModelTables, *, global_batch_size: int, reserved_fraction: float = 0.0
) -> PlanFile:
    """A plan that was made for running ranks as a plan file; hardware figures are those that the planner was given."""
    request = PlanRequest(
        model=model,
        hardware=profile_of(planned.topology),
        num_ranks=planned.topology.world_size,
        global_batch_size=global_batch_size,
        strategy=Strategy(name="live", description="made for the running ranks within the settings of the job"),
        reserved_fraction=reserved_fraction,
    )
    search = Search(num_proposals=planned.num_proposals, num_plans=planned.num_plans, seconds=planned.seconds)
    return plan_file_of(request, planned.options, search)


def profile_of(topology: Topology) -> HardwareProfile:
    """The hardware profile that a topology amounts to."""
    storage, per_host = topology.devices[0].storage, topology.local_world_size
    gb_per_s = 1 / BYTES_PER_MS
    return HardwareProfile(
        name="live",
        description=f"the ranks of a running job ({topology.compute_device})",
        device="cpu" if topology.compute_device == "cpu" else "cuda",
        ranks_per_host=per_host,
        hbm_gib=storage.hbm / GIB,
        hbm_gb_per_s=0 if topology.compute_device == "cpu" else topology.hbm_mem_bw * gb_per_s,
        host_memory_gib=storage.ddr * per_host / GIB,
        host_memory_gb_per_s=topology.ddr_mem_bw * per_host * gb_per_s,
        host_link_gb_per_s=topology.hbm_to_ddr_mem_bw * gb_per_s,
        intra_host_gb_per_s=topology.intra_host_bw * gb_per_s,
        inter_host_gb_per_s=topology.inter_host_bw * gb_per_s,
    )


def installed_versions() -> tuple[tuple[str, str], ...]:
    """What the estimates come from: the packages that are there, with their versions."""
    found = []
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def _shard_plan(shard: Shard) -> ShardPlan:
    assert shard.rank is not None
    assert shard.perf is not None
    assert shard.storage is not None
    perf = shard.perf
    cost = Cost(
        hbm_bytes=int(shard.storage.hbm),
        ddr_bytes=int(shard.storage.ddr),
        input_dist_ms=perf.input_dist_comms,
        forward_ms=perf.fwd_compute,
        output_dist_ms=perf.fwd_comms,
        backward_ms=perf.bwd_compute,
        gradient_dist_ms=perf.bwd_comms,
        prefetch_ms=perf.prefetch_compute,
    )
    row, column = shard.offset
    height, width = shard.size
    return ShardPlan(rank=shard.rank, offset=(row, column), size=(height, width), cost=cost)


def _parameter_sharding(table: TablePlan, device: str, ranks_per_host: int) -> ParameterSharding:
    spec = None
    if table.sharding_type != "data_parallel":
        spec = EnumerableShardingSpec([_metadata(shard, device, ranks_per_host) for shard in table.shards])
    cache = CacheParams(load_factor=table.cache_load_factor) if table.cache_load_factor is not None else None
    return ParameterSharding(
        sharding_type=table.sharding_type,
        compute_kernel=table.compute_kernel,
        ranks=[shard.rank for shard in table.shards],
        sharding_spec=spec,
        cache_params=cache,
    )


def _metadata(shard: ShardPlan, device: str, ranks_per_host: int) -> ShardMetadata:
    return ShardMetadata(
        shard_offsets=list(shard.offset),
        shard_sizes=list(shard.size),
        placement=placement(device, shard.rank, ranks_per_host),
    )


def _paths_by_table(module: nn.Module) -> dict[str, str]:
    return {
        config.name: path
        for path, collection in table_collections(module)
        for config in collection.embedding_bag_configs()
    }
