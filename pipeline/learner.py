"""What learns: the sharded model, its optimizer and its schedule, saved and loaded as one."""

from dataclasses import dataclass
from pathlib import Path

from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.types import ShardingPlan

from models.training_task import TrainingTask
from pipeline.checkpoints import CheckpointMeta, check_same_tables, load_training_state, save, versions
from pipeline.config import TrainConfig
from pipeline.optimizers import ShardedOptimizer, build_optimizer
from pipeline.ranks import Ranks
from pipeline.schedules import Schedule, build_schedule
from pipeline.settings import to_plain
from pipeline.sources import Source
from sharding_plans.apply import shard


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A sharded model with everything that changes as it trains."""

    config: TrainConfig
    source: Source
    tables: dict[str, list[int]]
    model: DistributedModelParallel
    optimizer: ShardedOptimizer
    schedule: Schedule

    def save(self, directory: Path, step: int, ranks: Ranks) -> Path:
        """A checkpoint after `step` steps, under `directory`; a collective."""
        meta = CheckpointMeta(
            step=step,
            config=to_plain(self.config),
            data_fingerprint=self.source.fingerprint,
            tables=self.tables,
            num_ranks=ranks.num_ranks,
            versions=versions(),
        )
        return save(directory, meta, self.model, self.optimizer, ranks)

    def load(self, checkpoint: Path, meta: CheckpointMeta) -> None:
        """Take over weights and optimizer states; a collective. CheckpointError where it belongs to another model."""
        check_same_tables(checkpoint, meta, self.tables)
        load_training_state(checkpoint, self.model, self.optimizer)


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
    optimizer = build_optimizer(model, config.optimizer.sparse, config.optimizer.dense)
    return Learner(
        config=config,
        source=source,
        tables=tables,
        model=model,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config.schedule),
    )
