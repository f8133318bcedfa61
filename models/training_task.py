"""A ranker and its loss as one module, in the form that TorchRec's train pipelines drive: batch in, (loss, outputs) out."""

import torch
from torch import Tensor, nn

from data.batch import Batch


class TrainingTask(nn.Module):
    """Mean binary cross entropy over the local batch; averaged over equal local batches it is the global batch's mean."""

    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The loss, a float32 scalar; and, detached, the loss again and the logits, float32 [B]."""
        logits = self.ranker(batch.dense, batch.sparse)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, weight=batch.weights)
        return loss, (torch.detach(loss), torch.detach(logits))
