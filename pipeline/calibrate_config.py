"""Settings of calibrating. Light: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass, field
from typing import Literal

from data.errors import ConfigError
from pipeline.optimizer_config import SparseOptimizerConfig


def _adagrad() -> SparseOptimizerConfig:
    return SparseOptimizerConfig(algorithm="adagrad")


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Fit the planner's cost model to this machine, by kernels, collectives and plans drawn at random."""

    ranks: int = 2
    """Ranks to measure on; costs are fitted for each number of ranks by itself, and those in the file for others are kept."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where it is there, else the CPU."""
    threads_per_rank: int | None = None
    """CPU threads of each rank; none: the cores shared out evenly."""
    optimizer: SparseOptimizerConfig = field(default_factory=_adagrad)
    """The fused optimizer that tables are trained with: calibrate with the one that you train with."""
    num_plans: int = 40
    """Plans drawn at random, besides 13 that probe the kernels."""
    num_steps: int = 12
    """Steps measured of each plan."""
    warm_steps: int = 3
    """Steps of each plan before that, not measured."""
    seed: int = 0
    """Seed of the plans that are drawn."""
    out: str = "artifacts/plans/this_machine.yaml"
    """The hardware profile to write, or to add this number of ranks to."""
    ledger: str = "artifacts/plans/calibration.jsonl"
    """The file to which a record per plan is appended."""

    def __post_init__(self) -> None:
        for key in ("ranks", "num_steps", "warm_steps"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} is {getattr(self, key)}; it must be at least 1.")
        if self.num_plans < 0:
            raise ConfigError(f"num_plans is {self.num_plans}; it must be 0 or more.")
        if not self.out.endswith((".yaml", ".yml")):
            raise ConfigError(f"out is {self.out}; a hardware profile is a .yaml file.")
