"""From a job's data settings to batches: prepared Parquet or the random source, behind one small seam."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from data.batch import Batch
from data.errors import ConfigError
from data.generating.pattern_files import load_patterns
from data.generating.random_rows import random_schema
from data.generating.random_source import RandomEvalReader, RandomReader
from data.manifest import Manifest
from data.reading.reader import EvalReader, TrainReader
from data.reading.shares import ALIGNED_ROWS
from data.schema import Schema
from models.dense_scaling import DenseScale
from pipeline.config import DataConfig, TrainingConfig
from pipeline.ranks import Ranks
from pipeline.settings import fingerprint, to_plain


class TrainBatches(Protocol):
    """What every source of training batches offers: this rank's share of each step's rows, from any step on."""

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def num_steps(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """A job's data: what batches look like, and the batches of this rank."""

    config: DataConfig
    schema: Schema
    fingerprint: str
    manifest: Manifest | None
    seed: int
    """Seed of the order of prepared rows, and of random data altogether."""

    @property
    def is_random(self) -> bool:
        return self.manifest is None

    @property
    def dense_scale(self) -> DenseScale | None:
        """Mean and deviation of the dense features in the train split; None for random data."""
        if self.manifest is None:
            return None
        statistics = [self.manifest.dense_statistics[name] for name in self.schema.dense]
        return DenseScale(mean=[each.mean for each in statistics], std=[each.std for each in statistics])

    def train_batches(self, training: TrainingConfig, ranks: Ranks, start_step: int = 0) -> TrainBatches:
        """This rank's share of the global batches, from `start_step` on."""
        order: dict[str, Any] = {
            "global_batch_size": training.global_batch_size,
            "seed": self.seed,
            "rank": ranks.rank,
            "num_ranks": ranks.num_ranks,
            "num_epochs": training.num_epochs,
            "start_step": start_step,
        }
        if self.manifest is None:
            return RandomReader(self.config.random, **order)
        return TrainReader(self.config.path, **order)

    def eval_batches(self, split: str, global_batch_size: int, ranks: Ranks) -> Iterable[Batch]:
        """This rank's rows of a split, padded to equal batches (row id -1 marks padding)."""
        size = eval_batch_size(global_batch_size, ranks.num_ranks)
        shares: dict[str, Any] = {
            "split": split,
            "global_batch_size": size,
            "rank": ranks.rank,
            "num_ranks": ranks.num_ranks,
        }
        if self.manifest is None:
            return RandomEvalReader(self.config.random, seed=self.seed, **shares)
        return EvalReader(self.config.path, **shares)

    def num_rows(self, split: str) -> int:
        """Rows of a split."""
        if self.manifest is None:
            return self.config.random.num_rows
        return self.manifest.splits[split].num_rows if split in self.manifest.splits else 0


def open_source(config: DataConfig, seed: int) -> Source:
    """The source that the settings name; DataError where it is not there or not whole."""
    if config.source == "random":
        schema = random_schema(config.random)
        marked = fingerprint({**to_plain(config.random), "seed": seed, **_trace_marks(config)})
        return Source(config=config, schema=schema, fingerprint=marked, manifest=None, seed=seed)
    manifest = Manifest.load(config.path)
    schema = manifest.schema
    return Source(config=config, schema=schema, fingerprint=manifest.fingerprint, manifest=manifest, seed=seed)


def _trace_marks(config: DataConfig) -> dict[str, Any]:
    """What tells learned access patterns apart: the settings only name the place where they lie."""
    if config.random.ids_distribution != "trace":
        return {}
    return {"patterns": [to_plain(pattern) for pattern in load_patterns(config.random.trace.patterns)]}


def eval_batch_size(global_batch_size: int, num_ranks: int) -> int:
    """The evaluation batch rounded up so that every rank's share is a multiple of ALIGNED_ROWS: scores of the same bits."""
    return usable_batch_size(global_batch_size, num_ranks * ALIGNED_ROWS)


def usable_batch_size(global_batch_size: int, num_ranks: int) -> int:
    """The evaluation batch rounded up to a multiple of the ranks, at least a row each."""
    return -(-global_batch_size // num_ranks) * num_ranks


def local_batch_size(global_batch_size: int, num_ranks: int) -> int:
    """Rows of one rank per step; ConfigError where the ranks do not share the global batch evenly."""
    if global_batch_size % num_ranks:
        raise ConfigError(
            f"training.global_batch_size is {global_batch_size}, which {num_ranks} ranks cannot share evenly; "
            f"take {usable_batch_size(global_batch_size, num_ranks)}, or another number of ranks."
        )
    return global_batch_size // num_ranks
