"""Scores of a sharded ranker on a split, every row exactly once on whatever rank, and their exact metrics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from data.batch import Batch
from pipeline.metrics.distributed import distributed_scores
from pipeline.metrics.evaluation import Evaluation
from pipeline.ranks import Ranks

_SCORES = pa.schema({"row_id": pa.int64(), "label": pa.float32(), "score": pa.float32()})


def evaluate(model: nn.Module, batches: Iterable[Batch], ranks: Ranks, scores_dir: Path | None = None) -> Evaluation:
    """The exact metrics of all ranks' rows, the same on every rank; a collective.

    Every rank gives the same number of batches; padding rows have row id -1. With `scores_dir`, each rank writes its rows
    there as `part-<rank>.parquet` (row_id, label, score), in the order of the row ids.
    """
    counted = distributed_scores(source="the evaluation")
    with _evaluating(model), _scores_writer(scores_dir, ranks) as writer:
        for batch in batches:
            _, (_, logits) = model(batch.to(ranks.device))
            is_real = batch.row_ids >= 0
            columns = (batch.row_ids[is_real], batch.labels[is_real], torch.sigmoid(logits.float()).cpu()[is_real])
            row_ids, labels, scores = (column.numpy() for column in columns)
            counted.add(scores, labels, row_ids)
            if writer:
                writer.write_table(pa.table([row_ids, labels, scores], schema=_SCORES))
    return counted.evaluate()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def _scores_writer(scores_dir: Path | None, ranks: Ranks) -> Iterator[pq.ParquetWriter | None]:
    if scores_dir is None:
        yield None
        return
    scores_dir.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(scores_dir / f"part-{ranks.rank:05d}.parquet", _SCORES) as writer:
        yield writer
