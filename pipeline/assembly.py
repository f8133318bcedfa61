"""From settings to what a plan is made for and what is trained: the ranker on the meta device, its optimizer attached."""

from data.schema import Schema
from models.build import build_ranker
from models.training_task import TrainingTask
from pipeline.config import TrainConfig
from pipeline.optimizers import attach_sparse_optimizer
from pipeline.ranks import Ranks
from pipeline.sources import Source, local_batch_size
from sharding_plans.apply import table_configs
from sharding_plans.config import PlanConfig
from sharding_plans.constraints import MemoryReservation, build_constraints
from sharding_plans.planner import Planned, live_topology, make_plan
from sharding_plans.sharders import EveryTypeSharder


def assemble(config: TrainConfig, source: Source, device: str) -> TrainingTask:
    """The ranker and its loss, tables on the meta device, the fused optimizer attached: planning counts its state.

    `device` is "cpu" or "cuda": what its fused kernels lack or would ignore is a ConfigError.
    """
    ranker = build_ranker(config.model, source.schema, seed=config.training.seed, dense_scale=source.dense_scale)
    task = TrainingTask(ranker)
    attach_sparse_optimizer(task, config.optimizer.sparse, device)
    return task


def choose_plan(
    settings: PlanConfig, task: TrainingTask, schema: Schema, global_batch_size: int, ranks: Ranks
) -> Planned:
    """The planner's best plan for the live ranks within the constraints of the settings."""
    topology = live_topology(
        ranks.num_ranks, device=ranks.device.type, hbm_gib=settings.hbm_gib, ddr_gib=settings.ddr_gib
    )
    return make_plan(
        task,
        topology,
        local_batch_size=local_batch_size(global_batch_size, ranks.num_ranks),
        sharders=[EveryTypeSharder()],
        constraints=build_constraints(settings, task, num_ranks=ranks.num_ranks, features=schema.sparse),
        reservation=MemoryReservation(percentage=settings.reserved_fraction),
    )


def table_shapes(task: TrainingTask) -> dict[str, list[int]]:
    """Rows and width per table."""
    return {table.name: [table.num_embeddings, table.embedding_dim] for _, table in table_configs(task)}
