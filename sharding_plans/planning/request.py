"""What a plan is asked for: which tables, on which hardware, how many ranks, which batch, by which strategy."""

from dataclasses import dataclass, replace
from typing import Any

from data.errors import PlanError
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.tables.table_specs import ModelTables

DEFAULT_RESERVED_FRACTION = 0.15
DENSE_COPIES = 6
"""Dense parameters, their gradients, optimizer state and DDP's buckets: TorchRec's own rule of thumb is 6 x the weights."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """Everything that determines a plan. Plain data: it can be sent to another process and changed field by field."""

    model: ModelTables
    hardware: HardwareProfile
    num_ranks: int
    global_batch_size: int
    strategy: Strategy
    reserved_fraction: float = DEFAULT_RESERVED_FRACTION
    """Share of each rank's memory (GPU memory; host memory for CPU ranks) kept free for activations and fragmentation."""

    def __post_init__(self) -> None:
        if self.num_ranks < 1:
            raise PlanError(f"The number of ranks is {self.num_ranks}; it must be at least 1.")
        if self.global_batch_size < self.num_ranks:
            raise PlanError(
                f"The global batch is {self.global_batch_size} rows for {self.num_ranks} ranks; every rank needs a row at least."
            )
        if not 0.0 <= self.reserved_fraction < 1.0:
            raise PlanError(f"reserved_fraction is {self.reserved_fraction}; it is a share, from 0 to below 1.")

    @property
    def local_batch_size(self) -> int:
        """Rows of the fullest rank per step."""
        return -(-self.global_batch_size // self.num_ranks)

    @property
    def label(self) -> str:
        """How people name it: strategy, ranks and hardware."""
        return f"{self.strategy.name} on {self.num_ranks} x {self.hardware.name}"

    def change(self, **changes: Any) -> "PlanRequest":
        """The same request with some fields changed."""
        return replace(self, **changes)
