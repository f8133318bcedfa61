"""Before a bundle takes its place, its scores are held against the checkpoint's, row by row."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from data.errors import ConfigError, DataError
from data.manifest import Manifest
from data.reading.flat_rows import flat_rows
from data.reading.stored_split import StoredSplit
from models.training_task import TrainingTask
from pipeline.assembly import assemble, choose_plan
from pipeline.checkpointing.tensors import load_weights
from pipeline.inference.bundle import read_parts
from pipeline.inference.model_parts import ModelParts, TrainedModel
from pipeline.inference.programs import FILES
from pipeline.inference.scoring import Scorer, program_of, scorer_of_parts
from pipeline.inference.work import stored_rows
from pipeline.ranks import Ranks
from pipeline.sources import eval_batch_size, open_source
from sharding_plans.applying.apply import shard

TOLERANCE = 1e-6
_SPLITS = ("test", "val", "train")
_EXAMPLE_ROWS = 16


@dataclass(frozen=True)
class Checked:
    """Rows of the prepared data, and what the checkpoint scores them: float32 [n]."""

    split: str
    table: pa.Table
    scores: np.ndarray

    def example(self, parts: ModelParts) -> tuple[torch.Tensor, ...]:
        """A few of the rows as flat tensors, for the tracers."""
        return flat_rows(self.table.slice(0, _EXAMPLE_ROWS), parts.schema).inputs


def scored_by_checkpoint(trained: TrainedModel, num_rows: int, ranks: Ranks) -> Checked:
    """The first rows of the test split (val, train where that is empty), scored as `shardline evaluate` scores them."""
    split = split_with_rows(trained.data_path)
    num_rows = min(num_rows, trained.manifest.splits[split].num_rows)
    scores = np.concatenate(list(_scores(trained, split, num_rows, ranks)))[:num_rows]
    return Checked(split, stored_rows(StoredSplit(trained.data_path, split), range(num_rows)), scores)


def scored_by_parts(parts: ModelParts, data_path: Path, num_rows: int) -> Checked:
    """The first rows of the same split, scored by the model that the parts make in this process."""
    split = split_with_rows(data_path)
    stored = StoredSplit(data_path, split)
    table = stored_rows(stored, range(min(num_rows, stored.num_rows)))
    return Checked(split, table, scorer_of_parts(parts).score_table(table))


def split_with_rows(data_path: Path) -> str:
    """The first of test, val and train that has rows; ConfigError where none has."""
    splits = Manifest.load(data_path).splits
    found = next((name for name in _SPLITS if splits[name].num_rows > 1), None)
    if found is None:
        raise ConfigError(f"{data_path} has no rows to check the bundle by.")
    return found


def check_bundle(directory: Path, formats: dict[str, str | None], checked: Checked) -> dict[str, Any]:
    """What the signature says of the check: rows, and the largest difference by runtime.

    DataError where the model or a program in the directory differs from the checkpoint by more than TOLERANCE.
    """
    parts = read_parts(directory, {})
    differences = {"eager": _largest_difference(scorer_of_parts(parts), checked)}
    for kind, reason in formats.items():
        if reason is None:
            scorer = Scorer(parts.schema, parts.fitted, program_of(directory, kind))
            differences[kind] = _largest_difference(scorer, checked)
    for kind, difference in differences.items():
        if not difference <= TOLERANCE:
            raise DataError(
                f"The self-check failed: {FILES.get(kind, 'the model')} differs from the checkpoint by {difference:.3g} on"
                f" {len(checked.scores):,} rows of {checked.split}, allowed is {TOLERANCE:g}. Nothing was written. Leave that"
                " format out by --formats, and report this."
            )
    return {
        "rows": len(checked.scores),
        "split": checked.split,
        "tolerance": TOLERANCE,
        "largest_differences": differences,
    }


def _largest_difference(scorer: Scorer, checked: Checked) -> float:
    return float(np.abs(scorer.score_table(checked.table) - checked.scores).max())


def _scores(trained: TrainedModel, split: str, num_rows: int, ranks: Ranks) -> Iterator[np.ndarray]:
    """Scores of the sharded model, batch by batch, until there are enough."""
    config = trained.config
    source = open_source(config.data, config.training.seed)
    task: TrainingTask = assemble(config, source, ranks.device.type)
    size = eval_batch_size(num_rows, ranks.num_ranks)
    planned = choose_plan(config.sharding, task, source.schema, size, ranks)
    model = shard(task, planned.plan, ranks.device, seed=config.training.seed)
    load_weights(trained.checkpoint, model)
    model.eval()
    num_done = 0
    with torch.no_grad():
        for batch in source.eval_batches(split, size, ranks):
            _, (_, logits) = model(batch.to(ranks.device))
            yield torch.sigmoid(logits.float()).cpu()[batch.row_ids >= 0].numpy()
            num_done += batch.num_rows
            if num_done >= num_rows:
                return
