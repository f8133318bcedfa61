"""What learns: the sharded model, its optimizer and its schedule, saved and loaded as one."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.types import ShardingPlan

from models.training_task import TrainingTask
from pipeline.checkpointing.meta import CheckpointMeta, check_same_tables, code_fingerprint, versions
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import load_training_state, training_state
from pipeline.config import TrainConfig
from pipeline.ranks import Ranks
from pipeline.settings import fingerprint, to_plain
from pipeline.sources import Source
from pipeline.training.optimizers import ShardedOptimizer, build_optimizer
from pipeline.training.schedules import Schedule, build_schedule
from pipeline.training.standing import Standing
from sharding_plans.applying.apply import plan_fingerprint, shard


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A sharded model with everything that changes as it trains."""

    config: TrainConfig
    source: Source
    tables: dict[str, list[int]]
    model: DistributedModelParallel
    optimizer: ShardedOptimizer
    schedule: Schedule

    def save(self, saver: Saver, standing: Standing, ranks: Ranks) -> Path:
        """A checkpoint of the model as it is; a collective."""
        return saver.save(self._meta(standing, ranks), training_state(self.model, self.optimizer))

    def load(self, checkpoint: Path, meta: CheckpointMeta) -> None:
        """Take over weights and optimizer states; a collective. CheckpointError where it belongs to another model."""
        check_same_tables(checkpoint, meta, self.tables)
        load_training_state(checkpoint, self.model, self.optimizer)
        self.optimizer.set_optimizer_step(meta.step)  # the fused Adam and LAMB correct their moments by it

    def _meta(self, standing: Standing, ranks: Ranks) -> CheckpointMeta:
        config = to_plain(self.config)
        return CheckpointMeta(
            step=standing.step,
            epoch=standing.epoch,
            rows_digest=standing.seen.digest,
            last_step_rows=standing.seen.last_step,
            val_auc=standing.val_auc,
            best_auc=standing.best_auc,
            best_step=standing.best_step,
            stall=asdict(standing.stall),
            config=config,
            config_fingerprint=fingerprint(config),
            data_fingerprint=self.source.fingerprint,
            code_fingerprint=code_fingerprint(),
            plan_fingerprint=plan_fingerprint(self.model.plan),
            plan=_placements(self.model.plan),
            tables=self.tables,
            num_ranks=ranks.num_ranks,
            versions=versions(),
        )


def build_learner(
    config: TrainConfig,
    source: Source,
    task: TrainingTask,
    plan: ShardingPlan,
    tables: dict[str, list[int]],
    ranks: Ranks,
) -> Learner:
    """The task sharded by the plan over the live ranks, with freshly initialised weights and optimizers; a collective."""
    model = shard(task, plan, ranks.device, seed=config.training.seed)
    frozen = task.ranker.frozen_tables
    optimizer = build_optimizer(model, config.optimizer.sparse, config.optimizer.dense, frozen=frozen)
    return Learner(
        config=config,
        source=source,
        tables=tables,
        model=model,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config.schedule),
    )


def _placements(plan: ShardingPlan) -> dict[str, dict[str, Any]]:
    """Sharding type and ranks per table."""
    return {
        table: {"sharding_type": how.sharding_type, "ranks": sorted(set(how.ranks or []))}
        for module_plan in plan.plan.values()
        for table, how in module_plan.items()  # pyright: ignore[reportAttributeAccessIssue]
    }
