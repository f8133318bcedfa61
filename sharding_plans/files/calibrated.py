"""The times of a plan file by the calibration of its hardware. Light: no torch here."""

from dataclasses import replace

from sharding_plans.calibrating.calibration import calibration_of
from sharding_plans.calibrating.loads import Group, Loads, Piece, loads_of
from sharding_plans.files.layout import PlanFile


def with_calibrated_parts(plan: PlanFile) -> PlanFile:
    """The plan with milliseconds of each part by its hardware's calibration; without, where it has none for these ranks."""
    calibration = calibration_of(plan.hardware.calibration)
    if calibration is None or str(plan.num_ranks) not in calibration.costs:
        return replace(plan, calibrated_ms=None)
    loads = plan_loads(plan, calibration.cache_mib)
    return replace(plan, calibrated_ms=calibration.parts_ms(loads, plan.num_ranks))


def plan_loads(plan: PlanFile, cache_mib: float) -> Loads:
    """What the plan makes each rank do, part by part."""
    return loads_of(pieces_of(plan), Group(plan.num_ranks, plan.local_batch_size, cache_mib * 2**20))


def pieces_of(plan: PlanFile) -> list[Piece]:
    """The shards of a plan that hold anything."""
    return [
        Piece(table.spec, table.sharding_type, shard.rank, shard.offset[0], *shard.size)
        for table in plan.tables
        for shard in table.shards
        if shard.area
    ]
