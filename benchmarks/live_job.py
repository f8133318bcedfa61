"""A training job up to its first step, for benchmarks that take the steps themselves."""

import itertools
from dataclasses import dataclass
from typing import Any

from data.batch import Batch
from data.schema import Schema
from pipeline.assembly import assemble, looked_up, plan_for
from pipeline.cli import job_parser
from pipeline.config import TrainConfig
from pipeline.job_list import JOBS
from pipeline.measuring.live_plan import LivePlan
from pipeline.ranks import Ranks
from pipeline.sources import open_source
from sharding_plans.files.plan_conversion import live_plan_file
from sharding_plans.planning.quiet import quiet_torchrec
from sharding_plans.tables.from_model import describe_tables


@dataclass(frozen=True, kw_only=True)
class LiveJob:
    """A sharded model on this rank, ready to take steps, and this rank's first batches."""

    config: TrainConfig
    schema: Schema
    live: LivePlan
    batches: list[Batch]


def train_config(settings: list[str]) -> TrainConfig:
    """The settings of a training job, as the command line reads them."""
    parser = job_parser(next(job for job in JOBS if job.name == "train"))
    chosen: Any = parser.instantiate(parser.parse_args(settings))
    return TrainConfig(**{name: value for name, value in vars(chosen).items() if name != "config"})


def live_job(config: TrainConfig, ranks: Ranks, num_batches: int = 4) -> LiveJob:
    """The job as `shardline train` would set it up; a collective."""
    training = config.training
    source = open_source(config.data, training.seed)
    task = assemble(config, source, ranks.device.type)
    planned = plan_for(config, task, source.schema, ranks)
    tables = describe_tables(task, {feature.name: feature.pooling_factor for feature in looked_up(task)})
    plan = live_plan_file(
        planned,
        tables,
        global_batch_size=training.global_batch_size,
        reserved_fraction=config.sharding.reserved_fraction,
    )
    with quiet_torchrec():
        live = LivePlan(plan, task, config, ranks)
    batches = itertools.islice(source.train_batches(training, ranks), num_batches)
    kept = [batch.to(ranks.device) for batch in batches]
    return LiveJob(config=config, schema=source.schema, live=live, batches=kept)
