"""A calibration where TorchRec's planner asks for costs: its hooks for estimators and for the rating of whole plans.

TorchRec adds up costs shard by shard. A shard's own cost goes there (so that its proposers and partitioners see it); what a plan
pays once per exchange and kernel, and that ranks share cores, only the rating of whole plans can know.
"""

from collections.abc import Iterable

from torchrec.distributed.planner.types import (
    ParameterConstraints,
    Perf,
    PerfModel,
    Shard,
    SharderDataMap,
    ShardEstimator,
    ShardingOption,
    Topology,
)

from sharding_plans.calibrating.calibration import Calibration, rank_ms
from sharding_plans.calibrating.loads import Group, Loads, Piece, add_piece, loads_of
from sharding_plans.tables.table_specs import ModelTables, TableSpec


class CalibratedShards(ShardEstimator):
    """Perf of each shard by the calibration: what it costs the rank that holds it."""

    def __init__(
        self,
        calibration: Calibration,
        model: ModelTables,
        group: Group,
        topology: Topology | None = None,
        constraints: dict[str, ParameterConstraints] | None = None,
    ) -> None:
        self._calibration, self._group = calibration, group
        self._tables = {table.name: table for table in model.tables}

    def estimate(self, sharding_options: list[ShardingOption], sharder_data_map: SharderDataMap) -> None:
        """Fill in the perf of every shard of the options, in place."""
        for option in sharding_options:
            table = self._tables[option.name]
            for place, shard in enumerate(option.shards):
                holder = place if option.sharding_type == "data_parallel" else 0
                shard.perf = self._perf(_piece(table, option.sharding_type, shard, holder % self._group.num_ranks))

    def _perf(self, piece: Piece) -> Perf:
        ranks = range(self._group.num_ranks)
        parts = ("input_dist", "lookup", "output_dist", "gradient_dist", "table_backward", "table_optimizer")
        loads: Loads = {part: [{} for _ in ranks] for part in parts}
        if piece.rows * piece.columns:
            add_piece(loads, piece, self._group, 4.0 * piece.rows * piece.columns)
        costs = self._calibration.costs_for(self._group.num_ranks)
        ms = {part: rank_ms(by_rank[piece.rank], costs.get(part, {})) for part, by_rank in loads.items()}
        return Perf(
            fwd_compute=ms["lookup"],
            fwd_comms=ms["output_dist"],
            bwd_compute=ms["table_backward"] + ms["table_optimizer"],
            bwd_comms=ms["gradient_dist"],
            input_dist_comms=ms["input_dist"],
        )


class CalibratedPlans(PerfModel):
    """Rates whole plans: the calibrated milliseconds of the embedding part, input dist included."""

    def __init__(self, calibration: Calibration, model: ModelTables, group: Group) -> None:
        self._calibration, self._group = calibration, group
        self._tables = {table.name: table for table in model.tables}

    def rate(self, plan: list[ShardingOption]) -> float:
        loads = loads_of(self._pieces(plan), self._group)
        return sum(self._calibration.parts_ms(loads, self._group.num_ranks).values())

    def _pieces(self, plan: list[ShardingOption]) -> Iterable[Piece]:
        for option in plan:
            for shard in option.shards:
                if shard.size[0] * shard.size[1] and shard.rank is not None:
                    yield _piece(self._tables[option.name], option.sharding_type, shard, shard.rank)


def _piece(table: TableSpec, sharding_type: str, shard: Shard, rank: int) -> Piece:
    return Piece(table, sharding_type, rank, shard.offset[0], shard.size[0], shard.size[1])
