"""A training job up to its first step, for benchmarks that take the steps themselves."""

import itertools
from dataclasses import dataclass
from typing import Any

from torchrec.distributed import DistributedModelParallel

from data.batch import Batch
from data.schema import Schema
from pipeline.assembly import assemble, plan_for, table_shapes
from pipeline.cli import job_parser
from pipeline.config import TrainConfig
from pipeline.job_list import JOBS
from pipeline.ranks import Ranks
from pipeline.sources import open_source
from pipeline.training.learner import build_learner
from pipeline.training.optimizers import ShardedOptimizer
from sharding_plans.planning.quiet import quiet_torchrec


@dataclass(frozen=True, kw_only=True)
class LiveJob:
    """A sharded model on this rank, its optimizer, and this rank's first batches."""

    config: TrainConfig
    schema: Schema
    model: DistributedModelParallel
    optimizer: ShardedOptimizer
    batches: list[Batch]

    @property
    def is_bf16(self) -> bool:
        return self.config.training.precision == "bf16"


def train_config(settings: list[str]) -> TrainConfig:
    """The settings of a training job, as the command line reads them."""
    parser = job_parser(next(job for job in JOBS if job.name == "train"))
    chosen: Any = parser.instantiate(parser.parse_args(settings))
    return TrainConfig(**{name: value for name, value in vars(chosen).items() if name != "config"})


def live_job(config: TrainConfig, ranks: Ranks, num_batches: int = 4) -> LiveJob:
    """The job as `shardline train` would set it up; a collective."""
    with quiet_torchrec():
        source = open_source(config.data, config.training.seed)
        task = assemble(config, source, ranks.device.type)
        tables = table_shapes(task)
        batches = source.train_batches(config.training, ranks)
        planned = plan_for(config, task, source.schema, ranks)
        learner = build_learner(config, source, task, planned.plan, tables, ranks)
    kept = [batch.to(ranks.device) for batch in itertools.islice(batches, num_batches)]
    return LiveJob(config=config, schema=source.schema, model=learner.model, optimizer=learner.optimizer, batches=kept)
