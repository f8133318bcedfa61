"""Tables of any shapes with next to nothing behind them, in the form in which plans are measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from data.batch import Batch
from data.config import RandomConfig
from data.generating.random_rows import random_schema
from data.generating.random_source import RandomReader
from pipeline.data_statistics import access_of_random
from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.tables.from_model import describe_tables
from sharding_plans.tables.table_specs import ModelTables


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Tables (rows, columns, ids a bag), how their ids are spread, and the rows of a step over all ranks."""

    name: str
    tables: tuple[tuple[int, int, int], ...]
    skew: float = 0.0
    """Zipf's exponent; 0: all rows equally often."""
    global_batch_size: int = 1024

    @property
    def random(self) -> RandomConfig:
        return RandomConfig(
            num_dense=1,
            table_sizes=tuple(rows for rows, _, _ in self.tables),
            num_lookups=tuple(lookups for _, _, lookups in self.tables),
            ids_distribution="zipf" if self.skew else "uniform",
            ids_skew=self.skew or 1.1,
            num_rows=64 * self.global_batch_size,
        )


class ProbeTask(nn.Module):
    """The workload's tables and a single linear layer: batch in, (loss, outputs) out, as the training task has it."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        names = random_schema(workload.random).sparse_names
        configs = [
            EmbeddingBagConfig(name=name, feature_names=[name], num_embeddings=rows, embedding_dim=columns)
            for name, (rows, columns, _) in zip(names, workload.tables, strict=True)
        ]
        self.ebc = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.over = nn.Linear(sum(columns for _, columns, _ in workload.tables), 1)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        # The columns come in an order that depends on the plan, so this is for measuring alone.
        logits = self.over(self.ebc(batch.sparse).values()).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
        return loss, (loss.detach(), logits.detach())


def probe_task(workload: Workload, optimizer: SparseOptimizerConfig, device: str = "cpu") -> ProbeTask:
    """The workload's task on the meta device, the fused optimizer attached."""
    task = ProbeTask(workload)
    attach_sparse_optimizer(task, optimizer, device)
    return task


def probe_tables(workload: Workload, optimizer: SparseOptimizerConfig) -> ModelTables:
    """The workload's tables with what is known of their ids."""
    pooling = {feature.name: feature.pooling_factor for feature in random_schema(workload.random).sparse}
    return describe_tables(probe_task(workload, optimizer), pooling, access_of_random(workload.random))


def probe_batches(workload: Workload, rank: int, num_ranks: int, count: int, seed: int = 1) -> Sequence[Batch]:
    """This rank's share of the first steps."""
    reader = RandomReader(
        workload.random,
        global_batch_size=workload.global_batch_size,
        seed=seed,
        rank=rank,
        num_ranks=num_ranks,
        num_epochs=1,
        prefetch=1,
    )
    return list(_first(iter(reader), count))


def _first(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    for _, batch in zip(range(count), batches, strict=False):
        yield batch
