"""AUC while training: of the rows since the last line of the log, each scored before the step that learns from it."""

import torch
from torch import Tensor

from data.errors import DataError
from pipeline.metrics.bounds import StreamingAuc

_ROWS_AT_ONCE = 16_384
"""Rows that are kept before they are counted: a small batch has far less work in it than calls."""
BIN_BITS = 16  # 1.5 MiB to sum over the ranks at each line of the log; bounds about 6e-4 apart


class TrainAuc:
    """Certified bounds over all ranks' rows, from fixed memory, without waiting for the device between lines of the log."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = StreamingAuc(bin_bits=BIN_BITS, device=device)
        self._kept = torch.empty(2, _ROWS_AT_ONCE, device=device)
        # On the CPU they are written by way of numpy: a fraction of what operations of torch take.
        self._here = self._kept.numpy() if device.type == "cpu" else None
        self._num_kept = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Takes this rank's logits and labels [B] of one step."""
        num_rows = len(logits)
        if self._num_kept + num_rows > _ROWS_AT_ONCE:
            self._count_kept()
        if num_rows > _ROWS_AT_ONCE:
            self._stream.add(torch.sigmoid(logits.float()), labels)
            return
        where = slice(self._num_kept, self._num_kept + num_rows)
        if self._here is not None:
            self._here[0, where], self._here[1, where] = logits.detach().float().numpy(), labels.numpy()
        else:
            self._kept[0, where], self._kept[1, where] = logits, labels
        self._num_kept += num_rows

    def take(self) -> dict[str, float]:
        """`train/auc_low` and `train/auc_high` of the rows since the last call; a collective.

        Empty where there is no AUC: one class only, or labels between 0 and 1.
        """
        self._count_kept()
        stream, self._stream = self._stream, StreamingAuc(bin_bits=BIN_BITS, device=self._device)
        try:
            bounds = stream.bounds(all_ranks=True)
        except DataError:
            return {}
        if min(bounds.num_positives, bounds.num_negatives) == 0:
            return {}
        return {"train/auc_low": bounds.low, "train/auc_high": bounds.high}

    def _count_kept(self) -> None:
        if self._num_kept:
            logits, labels = self._kept[:, : self._num_kept]
            self._stream.add(torch.sigmoid(logits), labels)
            self._num_kept = 0
