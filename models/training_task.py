"""A ranker and its loss as one module, in the form that TorchRec's train pipelines drive: batch in, (loss, outputs) out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.batch import Batch
from models.loss_config import LossConfig
from models.losses import Loss
from models.ranker import Ranker
from models.target_losses import TargetLosses


class TrainingTask(nn.Module):
    """The loss over the local batch; averaged over equal local batches it is the global batch's."""

    def __init__(self, ranker: Ranker, loss: LossConfig | None = None, targets: Sequence[str] = ()) -> None:
        super().__init__()
        self.ranker = ranker
        self.targets = tuple(targets)
        config = loss or LossConfig()
        config.check_targets(self.targets)
        self.loss = TargetLosses(config, self.targets) if self.targets else Loss(config)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The loss, a float32 scalar; and, detached, the loss again and the logits, float32 [B] (several targets: [B, T]).

        In evaluation the logits are those to be judged: corrected, where the train split lacks negatives.
        """
        logits = self.ranker(batch.dense, batch.sparse)
        loss = self.loss(logits, batch.labels, batch.weights)
        outputs = self.loss.bounded(logits) if self.training else self.loss.judged(logits)
        return loss, (torch.detach(loss), torch.detach(outputs))
