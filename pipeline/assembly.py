"""From settings to what a plan is made for and what is trained: the ranker on the meta device, its optimizer attached."""

from dataclasses import replace
from pathlib import Path

from torchrec.modules.embedding_configs import EmbeddingBagConfig

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.training_task import TrainingTask
from pipeline.config import TrainConfig
from pipeline.ranks import Ranks
from pipeline.sources import Source, local_batch_size
from pipeline.training.compiling import compile_interactions
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.applying.apply import table_configs
from sharding_plans.config import PlanConfig
from sharding_plans.files.plan_conversion import live_plan_file
from sharding_plans.files.plan_file import load, save
from sharding_plans.files.plan_fits import check_fits
from sharding_plans.files.scored_plans import planned_from
from sharding_plans.planning.constraints import MemoryReservation, build_constraints
from sharding_plans.planning.planner import Planned, live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.tables.from_model import describe_tables


def assemble(config: TrainConfig, source: Source, device: str) -> TrainingTask:
    """The ranker and its loss, tables on the meta device, the fused optimizer attached: planning counts its state.

    `device` is "cpu" or "cuda": what its fused kernels lack or would ignore is a ConfigError.
    """
    ranker = build_ranker(
        config.model,
        source.schema,
        seed=config.training.seed,
        dense_scale=source.dense_scale,
        num_slices=config.training.micro_batches,
    )
    if config.training.compile:
        compile_interactions(ranker, device)
    _check_watched(config.training.watch_target, source.schema.targets)
    task = TrainingTask(ranker, config.loss, source.schema.targets)
    attach_sparse_optimizer(task, config.optimizer.sparse, device, frozen=ranker.frozen_tables)
    return task


def _check_watched(target: str, targets: tuple[str, ...]) -> None:
    if target and target not in targets:
        known = f"its targets are {', '.join(targets)}" if targets else "they have one label"
        raise ConfigError(f"training.watch_target is {target!r}, which is no target of the data; {known}.")


def with_negatives_kept(config: TrainConfig, source: Source) -> TrainConfig:
    """The settings with the share of negatives that the train split's undersampling left, unless they say it themselves.

    It is kept with the run: a later evaluation on other data corrects for what the model was trained on.
    """
    if config.loss.negatives_kept is not None or source.manifest is None:
        return config
    return replace(config, loss=replace(config.loss, negatives_kept=source.manifest.negative_sampling_rate))


def plan_for(config: TrainConfig, task: TrainingTask, schema: Schema, ranks: Ranks) -> Planned:
    """The plan of the run: the one it was given as a file, else the planner's choice."""
    batch_size = config.training.global_batch_size
    if config.plan is not None:
        return given_plan(config.plan, task, batch_size, ranks)
    return choose_plan(config.sharding, task, schema, batch_size, ranks)


def choose_plan(
    settings: PlanConfig, task: TrainingTask, schema: Schema, global_batch_size: int, ranks: Ranks
) -> Planned:
    """The planner's best plan for the live ranks within the constraints of the settings."""
    topology = live_topology(
        ranks.num_ranks, device=ranks.device.type, hbm_gib=settings.hbm_gib, ddr_gib=settings.ddr_gib
    )
    batch_size = local_batch_size(global_batch_size, ranks.num_ranks)
    return make_plan(
        task,
        topology,
        local_batch_size=batch_size,
        sharders=[EveryTypeSharder()],
        constraints=build_constraints(
            settings,
            task,
            num_ranks=ranks.num_ranks,
            features=looked_up(task),
            device=ranks.device.type,
            local_batch_size=batch_size,
        ),
        reservation=MemoryReservation(percentage=settings.reserved_fraction),
    )


def given_plan(path: str, task: TrainingTask, global_batch_size: int, ranks: Ranks) -> Planned:
    """The plan of a file for the live ranks; PlanError naming every difference where it is for another model or ranks."""
    plan = load(path)
    check_fits(plan, task, num_ranks=ranks.num_ranks, ranks_per_host=ranks.local_num_ranks)
    return planned_from(plan, task, device=ranks.device.type, global_batch_size=global_batch_size)


def save_plan(path: Path, planned: Planned, config: TrainConfig, task: TrainingTask, schema: Schema) -> None:
    """Keep a run's plan with its estimated costs as a plan file, which another run can be given."""
    model = describe_tables(task, {feature.name: feature.pooling_factor for feature in looked_up(task)})
    batch_size, reserved = config.training.global_batch_size, config.sharding.reserved_fraction
    save(live_plan_file(planned, model, global_batch_size=batch_size, reserved_fraction=reserved), path)


def looked_up(task: TrainingTask) -> tuple[SparseFeature, ...]:
    """The features as the tables see them, by the keys that they are looked up by."""
    return task.ranker.looked_up


def learning_tables(task: TrainingTask) -> dict[str, EmbeddingBagConfig]:
    """Parameter names and configs of the tables that training is to change; ask before they are sharded."""
    return {name: table for name, table in table_configs(task) if table.name not in task.ranker.frozen_tables}


def table_shapes(task: TrainingTask) -> dict[str, list[int]]:
    """Rows and width per table."""
    return {table.name: [table.num_embeddings, table.embedding_dim] for _, table in table_configs(task)}
