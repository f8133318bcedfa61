"""What a machine was found to need for each thing that a plan makes it do, and the step that follows. Light: no torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from data.errors import PlanError
from sharding_plans.calibrating.loads import Group, Load, Loads

Costs = dict[str, dict[str, float]]
"""By part: milliseconds for a million of each thing."""
MILLION = 1e6


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A cost model fitted on one machine. Ranks beyond its cores share them: a part lasts as long as the slowest rank takes, and
    at least as long as the cores need for all ranks together."""

    cores: int
    cache_mib: float
    """Cache of a rank: what is looked up in tables beyond that comes from memory."""
    costs: dict[str, Costs]
    """By number of ranks (`2`, `4`): the costs fitted there."""
    collectives: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By number of ranks and collective: `latency_us` and `gb_per_s` of micro-benchmarks; for people, and for TorchRec."""
    origin: dict[str, Any] = field(default_factory=dict)
    """When and on what it was fitted: machine, versions, optimizer, plans."""

    def costs_for(self, num_ranks: int) -> Costs:
        """The costs fitted for so many ranks; PlanError names the numbers that there are."""
        if str(num_ranks) not in self.costs:
            known = ", ".join(sorted(self.costs, key=int)) or "none"
            raise PlanError(
                f"The hardware profile is calibrated for {known} ranks, not for {num_ranks}. "
                f"Run `shardline calibrate --ranks {num_ranks}` with the same output, which adds them."
            )
        return self.costs[str(num_ranks)]

    def parts_ms(self, loads: Loads, num_ranks: int) -> dict[str, float]:
        """Milliseconds of each part of the step that a plan decides."""
        costs = self.costs_for(num_ranks)
        return {part: part_ms(by_rank, costs.get(part, {}), self.cores) for part, by_rank in loads.items()}

    def group(self, num_ranks: int, local_batch_size: int) -> Group:
        return Group(num_ranks, local_batch_size, self.cache_mib * 2**20)


def part_ms(by_rank: list[Load], costs: Mapping[str, float], cores: int) -> float:
    """How long a part lasts that all ranks begin together."""
    each = [rank_ms(load, costs) for load in by_rank]
    return max(max(each), sum(each) / cores)


def rank_ms(load: Load, costs: Mapping[str, float]) -> float:
    """Milliseconds of one rank's load."""
    return sum(costs.get(name, 0.0) * amount for name, amount in load.items()) / MILLION


def calibration_of(values: Mapping[str, Any] | None) -> Calibration | None:
    """The calibration that a hardware profile holds as plain values; PlanError where it is damaged."""
    if values is None:
        return None
    try:
        return Calibration(**values)
    except TypeError as error:
        raise PlanError(
            f"The hardware profile's calibration is damaged ({error}). Run `shardline calibrate` again."
        ) from error


def calibration_to_dict(calibration: Calibration) -> dict[str, Any]:
    """The calibration as plain values that `calibration_of` takes back."""
    return asdict(calibration)
