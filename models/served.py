"""A ranker as it serves: flat tensors in, probabilities out, in a form that PyTorch's exporters take.

B: batch rows, F: sparse features, n: ids of a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from models.loss_config import LossConfig
from models.losses import Loss
from models.ranker import Ranker


class ServedRanker(nn.Module):
    """Probabilities, float32 [B] ([B, T] for several targets), of rows.

    Takes dense float32 [B, num_dense], ids int32 or int64 [n], lengths int32 [F * B].

    Ids lie feature by feature, as the values of a KeyedJaggedTensor do. It shares the ranker's weights. Probabilities are
    those that an evaluation judges: bounded, and corrected where the train split lacked negatives.
    """

    def __init__(self, ranker: Ranker, loss: LossConfig, features: Sequence[str]) -> None:
        super().__init__()
        self.features = list(features)
        self.tables = ranker.ebc
        self.split_ids = ranker.split_ids
        self.compose, self.standardise, self.arch = ranker.compose, ranker.standardise, ranker.arch
        self.columns = [_column_runs(ranker.ebc, keys) for keys in ranker.keys]
        self.loss = Loss(loss)
        self.eval()

    def forward(self, dense: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
        return self.probabilities(dense, KeyedJaggedTensor(keys=self.features, values=values, lengths=lengths))

    def probabilities(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        looked_up: KeyedTensor = self.tables(sparse if self.split_ids is None else self.split_ids(sparse))
        values = looked_up.values()
        vectors = self.compose([_side_by_side(values, runs) for runs in self.columns], sparse)
        logits = self.arch(self.standardise(dense), vectors)
        return torch.sigmoid(self.loss.judged(logits).float())


class WeightedServedRanker(ServedRanker):
    """The same for data whose ids have weights: float32 [n], one for each id."""

    def forward(self, dense: Tensor, values: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        sparse = KeyedJaggedTensor(keys=self.features, values=values, lengths=lengths, weights=weights)
        return self.probabilities(dense, sparse)


def _column_runs(tables: Any, keys: Sequence[str]) -> list[tuple[int, int]]:
    """First and last-but-one column of each run of neighbouring keys in what the unsharded tables give."""
    places, start = {}, 0
    for key, width in zip(tables._embedding_names, tables._lengths_per_embedding, strict=True):
        places[key] = (start, start + width)
        start += width
    runs: list[tuple[int, int]] = []
    for first, end in (places[key] for key in keys):
        if runs and runs[-1][1] == first:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((first, end))
    return runs


def _side_by_side(values: Tensor, runs: list[tuple[int, int]]) -> Tensor:
    parts = [values[:, first:end] for first, end in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
