"""Placing tables on a rank of the user's choice, or several tables on one rank: what TorchRec's partitioners lack."""

import copy
from dataclasses import dataclass

from torchrec.distributed.planner.types import (
    Partitioner,
    Perf,
    PlannerError,
    PlannerErrorType,
    Shard,
    ShardingOption,
    Storage,
    Topology,
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Whole tables that share a rank: the given one, or any (`rank` None)."""

    tables: tuple[str, ...]
    rank: int | None


class PinnedPartitioner(Partitioner):
    """Another partitioner's placement, with groups of whole tables kept on one rank each.

    A pinned group is charged to its rank before the others are placed. A free group goes to the inner partitioner as one
    table of the group's memory and time. Raises PlannerError where a group or the rest finds no room.
    """

    def __init__(self, inner: Partitioner, groups: list[Group]) -> None:
        self._inner = inner
        self._groups = groups

    def partition(self, proposal: list[ShardingOption], storage_constraint: Topology) -> list[ShardingOption]:
        left = copy.deepcopy(storage_constraint)
        by_name = {option.name: option for option in proposal}
        members = {name for group in self._groups for name in group.tables}
        rest = [option for option in proposal if option.name not in members]
        merged: list[tuple[ShardingOption, list[ShardingOption]]] = []
        for group in self._groups:
            options = [by_name[name] for name in group.tables]
            if group.rank is None:
                merged.append((_merged(options), options))
            else:
                _pin(options, group.rank, left)
        self._inner.partition([*(one for one, _ in merged), *rest], left)
        for one, options in merged:
            for option in options:
                option.shards[0].rank = one.shards[0].rank
        _check_room(proposal, storage_constraint)
        return proposal


def _merged(options: list[ShardingOption]) -> ShardingOption:
    whole = copy.copy(options[0])
    first = options[0].shards[0]
    whole.shards = [Shard(first.size, first.offset, _storage(options), _perf(options))]
    return whole


def _pin(options: list[ShardingOption], rank: int, left: Topology) -> None:
    if rank >= left.world_size:
        raise _no_room(f"Tables are pinned to rank {rank}, but the ranks are 0 to {left.world_size - 1}.")
    device = left.devices[rank]
    needed = _storage(options)
    if not needed.fits_in(device.storage):
        names = ", ".join(option.name for option in options)
        raise _no_room(f"Tables {names} are pinned to rank {rank} and need {needed}, but it has {device.storage} free.")
    device.storage -= needed
    device.perf += _perf(options)
    for option in options:
        option.shards[0].rank = rank


def _check_room(proposal: list[ShardingOption], topology: Topology) -> None:
    """TorchRec's memory-balanced partitioner sets its own limit per rank and so forgets what is pinned there."""
    used = [Storage(hbm=0, ddr=0) for _ in topology.devices]
    for option in proposal:
        for shard in option.shards:
            assert shard.rank is not None
            assert shard.storage is not None
            used[shard.rank] += shard.storage
    for device, storage in zip(topology.devices, used, strict=True):
        if not storage.fits_in(device.storage):
            raise _no_room(f"Rank {device.rank} would need {storage} with its pinned tables, but has {device.storage}.")


def _storage(options: list[ShardingOption]) -> Storage:
    total = Storage(hbm=0, ddr=0)
    for option in options:
        total += option.total_storage
    return total


def _perf(options: list[ShardingOption]) -> Perf:
    total = Perf(fwd_compute=0, fwd_comms=0, bwd_compute=0, bwd_comms=0)
    for option in options:
        for shard in option.shards:
            assert shard.perf is not None
            total += shard.perf
    return total


def _no_room(message: str) -> PlannerError:
    return PlannerError(message, error_type=PlannerErrorType.PARTITION)
