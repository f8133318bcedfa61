"""Settings of the planning jobs. Light: the command line reads this before anything heavy is imported.

A planning job takes a training job's YAML as it is (data, model, optimizer, sharding, batch) and adds what to plan for.
"""

import re
from dataclasses import dataclass
from typing import Literal

from data.errors import ConfigError
from pipeline.config import TrainConfig

RESERVED_FRACTION = 0.15
_CLUSTER = re.compile(r"^\s*(\d+)\s*[x*]\s*(\S+)\s*$")

Names = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PlanJobConfig(TrainConfig):
    """Plan (or score a plan) for hardware that need not be there; the model comes from a training job's YAML."""

    ranks: int = 1
    """Ranks to plan for; nothing is started."""
    plan: str | None = None
    """A plan file to score as it is (edited by hand, say), in place of planning."""
    hardware: str | None = None
    """A hardware profile by name or YAML file, or `this-machine`, which is also the default (a scored plan keeps its own)."""
    ranks_per_host: int | None = None
    """Ranks of a full host, in place of the profile's."""
    strategy: str = "planner"
    """A strategy by name or YAML file."""
    global_batch_size: int | None = None
    """Rows per step over all ranks; by default `training.global_batch_size`."""
    reserved_fraction: float | None = None
    """Share of each rank's memory to keep free; by default `sharding.reserved_fraction` where that is set, else 0.15."""
    data_statistics: bool = True
    """Whether to plan with what is known of the data: ids per bag, frequent rows, distinct rows of a step."""
    out: str | None = None
    """Plan file to write; none: only the text on stdout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("ranks_per_host", self.ranks_per_host)
        _check_positive("global_batch_size", self.global_batch_size)
        _check_share("reserved_fraction", self.reserved_fraction)


@dataclass(frozen=True, kw_only=True)
class ComparePlansConfig(TrainConfig):
    """Compare strategies, clusters and batches, and plan files, side by side, for the model of a training job's YAML."""

    clusters: Names = ()
    """Clusters as `ranks x hardware`, parted by commas: `8xh100_sxm_80gb,16xv100_sxm_32gb`; by default `ranks` x this-machine."""
    strategies: Names = "all"
    """Strategies by name or YAML file, parted by commas; `all`: every one that Shardline has."""
    plans: Names = ()
    """Plan files to put beside them, parted by commas."""
    global_batch_sizes: tuple[int, ...] = ()
    """Rows per step over all ranks, one or several; by default `training.global_batch_size`."""
    reserved_fraction: float | None = None
    """Share of each rank's memory to keep free; by default `sharding.reserved_fraction` where that is set, else 0.15."""
    data_statistics: bool = True
    """Whether to plan with what is known of the data: ids per bag, frequent rows, distinct rows of a step."""
    ledger: str | None = None
    """A ledger of measurements (from measure-plans): plans that it knows are held against them in the report."""
    what_if: bool = True
    """Whether to find the fewest ranks of every known hardware on which the model fits."""
    max_remedies: int = 3
    """Verified remedies to look for where there is no plan."""
    num_processes: int | None = None
    """Processes that plan; none: one per core."""
    out: str = "artifacts/plans/comparison"
    """Directory for report.html, report.md, report.json and the plans."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in self.global_batch_sizes:
            _check_positive("global_batch_sizes", size)
        _check_positive("num_processes", self.num_processes)
        _check_positive("max_remedies", self.max_remedies)
        _check_share("reserved_fraction", self.reserved_fraction)
        self.parsed_clusters()
        if not self.strategy_names() and not names(self.plans):
            raise ConfigError("There is nothing to compare: name strategies, or plans.")

    def parsed_clusters(self) -> tuple[tuple[int, str], ...]:
        """Number of ranks and hardware of each cluster."""
        return tuple(_cluster(text) for text in names(self.clusters)) or ((self.ranks, "this-machine"),)

    def strategy_names(self) -> tuple[str, ...]:
        """The strategies to compare, `all` spelt out."""
        from sharding_plans.strategies.strategy_catalog import STRATEGIES

        return tuple(STRATEGIES) if self.strategies == "all" else names(self.strategies)


@dataclass(frozen=True, kw_only=True)
class MeasurePlansConfig(TrainConfig):
    """Measure plans on live ranks: training steps with the model and data of a training job's YAML, cut into their parts."""

    plans: Names = ()
    """Plan files to measure, parted by commas."""
    strategies: Names = ()
    """Strategies to plan by and measure, by name or YAML file, parted by commas; without `plans`, by default `planner`."""
    hardware: str = "this-machine"
    """The hardware profile that strategies plan for and estimates are made for, by name or YAML file."""
    num_steps: int = 20
    """Steps measured of each plan: so many uncut and as many cut into parts, in turn."""
    warm_steps: int = 5
    """Steps of each plan before that, not measured."""
    num_batches: int = 8
    """Batches of each rank, read beforehand and used over and over: reading data is not measured."""
    reserved_fraction: float | None = None
    """Share of each rank's memory that strategies keep free; by default `sharding.reserved_fraction` where set, else 0.15."""
    ledger: str = "artifacts/plans/ledger.jsonl"
    """The file to which a record per plan is appended."""
    out: str = "artifacts/plans/measured"
    """Directory for report.html, report.md, report.json and the plans of the strategies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("num_steps", "warm_steps", "num_batches"):
            _check_positive(key, getattr(self, key))
        _check_share("reserved_fraction", self.reserved_fraction)

    def strategy_names(self) -> tuple[str, ...]:
        """The strategies to measure."""
        return names(self.strategies) or (() if names(self.plans) else ("planner",))


@dataclass(frozen=True, kw_only=True)
class DiffPlansConfig:
    """Say what differs between two plan files; the exit code is 0 when they are the same, 1 when not, 2 in trouble."""

    a: str
    """The plan file to compare with."""
    b: str
    """The plan file to compare."""
    fail_if: Names = ()
    """Gates, parted by commas, such as `peak_hbm_gib > +5%`; with gates the exit code is 1 when one fires, else 0."""
    format: Literal["text", "json"] = "text"
    """What to print."""


def names(given: Names) -> tuple[str, ...]:
    """Names that are given as a list, or as one text parted by commas."""
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())


def _cluster(text: str) -> tuple[int, str]:
    match = _CLUSTER.match(text)
    if match is None or int(match[1]) < 1:
        raise ConfigError(
            f'clusters has "{text}"; a cluster is a number of ranks and a hardware, as in "8 x h100_sxm_80gb".'
        )
    return int(match[1]), match[2]


def _check_positive(key: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ConfigError(f"{key} is {value}; it must be at least 1.")


def _check_share(key: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value < 1.0:
        raise ConfigError(f"{key} is {value}; it is a share, from 0 to below 1.")
