"""Scores of a sharded ranker on a split, every row exactly once on whatever rank, and their exact metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from data.batch import Batch
from data.errors import DataError
from pipeline.metrics.distributed import distributed_scores
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.exact import ExactScores
from pipeline.metrics.scores_table import scores_schema, scores_table
from pipeline.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The evaluation of the first target; of all of them by name, first included, where there are several.

    Targets of which no row has a label are left out of `by_target`.
    """

    main: Evaluation
    by_target: Mapping[str, Evaluation] = field(default_factory=dict)

    def metrics(self, watched: str = "") -> dict[str, float]:
        """`auc`, `logloss` ... of the watched target (none: the first); of several also `<target>/auc` ... of each."""
        if watched and watched not in self.by_target:
            raise DataError(f"training.watch_target is {watched}, but no row of the val split has a label of it.")
        flat = self.by_target[watched].metrics() if watched else self.main.metrics()
        return flat | {
            f"{target}/{key}": value for target, each in self.by_target.items() for key, value in each.metrics().items()
        }


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    ranks: Ranks,
    scores_dir: Path | None = None,
    targets: Sequence[str] = (),
) -> Evaluated:
    """The exact metrics of all ranks' rows, the same on every rank; a collective.

    Every rank gives the same number of batches; padding rows have row id -1, missing labels are NaN. With `scores_dir`, each
    rank writes its rows there as `part-<rank>.parquet` (row_id, label, score; for further targets label_<name> and
    score_<name>), in the order of the row ids.
    """
    names = targets or ("",)
    counted = [distributed_scores(source="the evaluation") for _ in names]
    num_known = torch.zeros(len(names), dtype=torch.int64)
    with _evaluating(model), _scores_writer(scores_dir, ranks, targets) as writer:
        for batch in batches:
            _, (_, logits) = model(batch.to(ranks.device))
            is_real = batch.row_ids >= 0
            row_ids = batch.row_ids[is_real].numpy()
            shape = (len(row_ids), len(names))
            labels = batch.labels[is_real].reshape(shape)
            scores = torch.sigmoid(logits.float()).cpu()[is_real].reshape(shape)
            num_known += _add(counted, row_ids, labels, scores)
            if writer:
                writer.write_table(scores_table(row_ids, labels.numpy(), scores.numpy(), targets))
    of_all_ranks = num_known.to(ranks.device)
    dist.all_reduce(of_all_ranks)
    found = {
        name: each.evaluate()
        for i, (name, each, num) in enumerate(zip(names, counted, of_all_ranks.tolist(), strict=True))
        if num or i == 0
    }
    return Evaluated(main=found[names[0]], by_target=found if targets else {})


def _add(counted: list[ExactScores], row_ids: NDArray, labels: Tensor, scores: Tensor) -> Tensor:
    """Count the rows whose label is known for each target; how many they are, int64 [T]."""
    is_known = ~labels.isnan()
    for t, each in enumerate(counted):
        known = is_known[:, t]
        each.add(scores[known, t].numpy(), labels[known, t].numpy(), row_ids[known.numpy()])
    return is_known.sum(dim=0)


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
def _scores_writer(scores_dir: Path | None, ranks: Ranks, targets: Sequence[str]) -> Iterator[pq.ParquetWriter | None]:
    if scores_dir is None:
        yield None
        return
    scores_dir.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(scores_dir / f"part-{ranks.rank:05d}.parquet", scores_schema(targets)) as writer:
        yield writer
