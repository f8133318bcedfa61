"""What reaches the model: one rank's share of one global batch.

Legend: B rows on this rank, F sparse features.
"""

from dataclasses import dataclass

import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

PADDING_ROW_ID = -1


@dataclass
class Batch(Pipelineable):
    """B rows: dense features, ids, labels and where the rows came from. Tensors are views into a shared block: read only.

    `dense` float32 [B, num_dense]; `sparse` a KeyedJaggedTensor of F keys in schema order, with int32 or int64 values and
    int32 lengths [F * B]; `labels` float32 [B], or [B, T] for several targets, NaN where one is missing; `row_ids` int64 [B],
    PADDING_ROW_ID where evaluation filled a batch up; `weights` float32 [B], or None where every row counts the same.
    """

    dense: torch.Tensor
    sparse: KeyedJaggedTensor
    labels: torch.Tensor
    row_ids: torch.Tensor
    weights: torch.Tensor | None = None

    @property
    def num_rows(self) -> int:
        """Rows in the batch, padding rows included."""
        return self.labels.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """The same rows on `device`; the batch itself where it is there already, as `torch.Tensor.to` does."""
        if self.labels.device == torch.device(device):
            return self
        weights = self.weights
        return Batch(
            dense=self.dense.to(device, non_blocking=non_blocking),
            sparse=self.sparse.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            row_ids=self.row_ids.to(device, non_blocking=non_blocking),
            weights=None if weights is None else weights.to(device, non_blocking=non_blocking),
        )

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory of every tensor until `stream` is done with it (CUDA only)."""
        for part in (self.dense, self.sparse, self.labels, self.row_ids, self.weights):
            if part is not None:
                part.record_stream(stream)  # pyright: ignore[reportArgumentType]

    def pin_memory(self) -> "Batch":
        """The same rows in page-locked memory, from which copies to a GPU can overlap with work."""
        return Batch(
            dense=self.dense.pin_memory(),
            sparse=self.sparse.pin_memory(),
            labels=self.labels.pin_memory(),
            row_ids=self.row_ids.pin_memory(),
            weights=None if self.weights is None else self.weights.pin_memory(),
        )
