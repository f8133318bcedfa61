"""Scores of a sharded ranker on a split, every row exactly once, and their metrics. B: local batch rows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from data.batch import Batch
from pipeline.metrics.summary import summarise
from pipeline.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Predicted click probabilities beside what happened, in the order of the row ids; all arrays have one length."""

    row_ids: np.ndarray
    """int64: the row's number in the raw data."""
    scores: np.ndarray
    """float32 probabilities."""
    labels: np.ndarray
    """float32, 0 or 1."""


def score(model: nn.Module, batches: Iterable[Batch], ranks: Ranks) -> Scores | None:
    """All ranks' scores on rank 0, None on the others. A collective; every rank has the same number of batches."""
    mine = _score_my_rows(model, batches, ranks.device)
    gathered: list[Scores] | None = [mine] * ranks.num_ranks if ranks.is_zero else None
    dist.gather_object(mine, gathered, dst=0)
    return _in_row_order(gathered) if gathered is not None else None


def evaluate(model: nn.Module, batches: Iterable[Batch], ranks: Ranks) -> dict[str, float]:
    """The metrics of `pipeline.metrics.summary.summarise` over all ranks' rows, equal on every rank. A collective."""
    scores = score(model, batches, ranks)
    return ranks.on_zero(lambda: summarise(scores.scores, scores.labels) if scores is not None else {})


def _score_my_rows(model: nn.Module, batches: Iterable[Batch], device: torch.device) -> Scores:
    was_training = model.training
    model.eval()
    row_ids, scores, labels = [], [], []
    with torch.no_grad():
        for batch in batches:
            _, logits = model(batch.to(device))
            real = batch.row_ids >= 0
            row_ids.append(batch.row_ids[real])
            scores.append(torch.sigmoid(logits.float()).cpu()[real])
            labels.append(batch.labels[real])
    model.train(was_training)
    return Scores(row_ids=_joined(row_ids), scores=_joined(scores), labels=_joined(labels))


def _joined(tensors: list[torch.Tensor]) -> np.ndarray:
    return torch.cat(tensors).cpu().numpy()


def _in_row_order(parts: list[Scores]) -> Scores:
    row_ids = np.concatenate([part.row_ids for part in parts])
    order = np.argsort(row_ids, kind="stable")
    scores = np.concatenate([part.scores for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    return Scores(row_ids=row_ids[order], scores=scores[order], labels=labels[order])
