"""What was measured of a plan, as plain data. Light: no torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from statistics import median, quantiles
from typing import Any

PARTS = {
    "input_dist": "input dist",
    "lookup": "lookup",
    "output_dist": "output dist",
    "dense_forward": "dense forward",
    "dense_backward": "dense backward",
    "gradient_dist": "gradient dist",
    "table_backward": "table backward",
    "table_optimizer": "table optimizer",
    "dense_optimizer": "dense optimizer",
}
"""The parts of a training step in their order, with their names for people."""
EMBEDDING_PARTS = ("input_dist", "lookup", "output_dist", "gradient_dist", "table_backward", "table_optimizer")
"""The parts that a plan decides."""


@dataclass(frozen=True, kw_only=True)
class RankMeasurement:
    """One rank's figures: times in ms (medians over the steps, `step_p90_ms` the 90th percentile), bytes per step, bytes held."""

    rank: int
    step_p50_ms: float
    step_p90_ms: float
    parts_ms: dict[str, float]
    waiting_ms: float
    """Between the parts, for ranks that were not done yet."""
    sent_bytes: int
    received_bytes: int
    table_bytes: int
    state_bytes: int
    process_peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One plan measured on live ranks: what was run, where, on which data, and what came out."""

    plan_fingerprint: str
    plan_name: str
    sharding_types: dict[str, int]
    """Number of tables by sharding type."""
    hardware: dict[str, Any]
    versions: dict[str, str]
    model_fingerprint: str
    global_batch_size: int
    num_ranks: int
    data: dict[str, Any]
    num_steps: int
    created: str
    ranks: tuple[RankMeasurement, ...]
    slowest_ms: dict[str, float]
    """By part: the median over the steps of the slowest rank's time. Ranks start each part together, so these add up."""
    step_p50_ms: float
    step_p90_ms: float
    """A whole step without any clock inside, on the slowest rank."""
    parted_step_ms: float
    """A whole step cut into parts, synchronisation included: what measuring adds is the difference."""
    embedding_p10_ms: float = 0.0
    embedding_p90_ms: float = 0.0
    estimates: dict[str, dict[str, float]] = field(default_factory=dict)
    """What was estimated beforehand, by kind of estimate (`torchrec`, `calibrated`) and part."""

    @property
    def embedding_ms(self) -> float:
        """The part of the step that the plan decides, ranks starting each of its parts together."""
        return sum(self.slowest_ms[part] for part in EMBEDDING_PARTS)

    @property
    def overhead(self) -> float:
        """How much longer a step takes for being measured by parts, as a share."""
        return self.parted_step_ms / self.step_p50_ms - 1 if self.step_p50_ms else 0.0


def measurement_to_dict(measurement: Measurement) -> dict[str, Any]:
    """The measurement as JSON values, with its sums."""
    return asdict(measurement) | {"embedding_ms": measurement.embedding_ms, "overhead": measurement.overhead}


def measurement_from_dict(values: Mapping[str, Any]) -> Measurement:
    """What `measurement_to_dict` wrote; KeyError or TypeError for anything else."""
    taken = {each.name: values[each.name] for each in fields(Measurement) if each.name in values}
    ranks = tuple(RankMeasurement(**rank) for rank in values["ranks"])
    return Measurement(**{**taken, "ranks": ranks})


def percentile(values: list[float], share: int) -> float:
    """The percentile (10, 20 ... 90) of some values; 50 is the median."""
    if share == 50 or len(values) < 2:
        return median(values)
    return quantiles(values, n=10, method="inclusive")[share // 10 - 1]
