"""Small models and hardware to plan for offline."""

from typing import Any

from sharding_plans.machines.hardware import HardwareProfile, shipped_profile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.tables.table_specs import ModelTables, TableSpec

A100 = shipped_profile("a100_sxm_40gb")
CPU = shipped_profile("cpu_host")


def table(name: str, rows: int, dim: int = 16, ids: float = 1.0, **changes: Any) -> TableSpec:
    """One table of the collection `ebc`, looked up by the feature of its name, with Adagrad unless told otherwise."""
    values: dict[str, Any] = {"module": "ebc", "optimizer": "adagrad", "features": (name,), "pooling_factors": (ids,)}
    return TableSpec(name=name, num_embeddings=rows, embedding_dim=dim, **{**values, **changes})


def model(*shapes: tuple[str, int, int], **changes: Any) -> ModelTables:
    """A model of tables (name, rows, dim)."""
    return ModelTables(tables=tuple(table(name, rows, dim, **changes) for name, rows, dim in shapes))


SMALL = model(("few", 3, 16), ("some", 400, 16), ("many", 20_000, 16), ("wide", 5_000, 64))


def request(strategy: str | Strategy = "planner", **changes: Any) -> PlanRequest:
    """What to plan: four small tables on 4 A100 with a global batch of 64, unless told otherwise."""
    values: dict[str, Any] = {"model": SMALL, "hardware": A100, "num_ranks": 4, "global_batch_size": 64}
    chosen = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
    return PlanRequest(strategy=chosen, **{**values, **changes})


def hosts(*, ranks: int, hbm_gib: float = 1.0, memory_gib: float = 64.0, device: str = "cuda") -> HardwareProfile:
    """Hosts of `ranks` ranks with so much memory."""
    return HardwareProfile(
        name="test",
        description="made up for a test",
        device=device,  # pyright: ignore[reportArgumentType]
        ranks_per_host=ranks,
        hbm_gib=hbm_gib if device == "cuda" else 0,
        hbm_gb_per_s=1000 if device == "cuda" else 0,
        host_memory_gib=memory_gib,
        host_memory_gb_per_s=200,
        host_link_gb_per_s=25,
        intra_host_gb_per_s=100,
        inter_host_gb_per_s=10,
    )
