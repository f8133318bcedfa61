"""The AUC of a stream of scores in fixed memory: certified bounds on the exact value, for the training loop."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from data.errors import DataError

_BITS_OF_ONE = 30  # the bits of every float32 in [0, 1] are below 2**30
_MOST_BITS = 2**31 - 1


@dataclass(frozen=True)
class AucBounds:
    """The exact AUC lies in [low, high], both included; nan with one class only."""

    low: float
    high: float
    num_positives: int
    num_negatives: int

    @property
    def gap(self) -> float:
        return self.high - self.low

    @property
    def middle(self) -> float:
        """The estimate that is never further than gap / 2 from the exact value."""
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        return f"AUC in [{self.low:.6f}, {self.high:.6f}] (gap {self.gap:.1e})"


class StreamingAuc:
    """Counts float32 probabilities in `2**bin_bits` bins of their bit patterns and bounds the exact AUC from the counts.

    Bit patterns of floats are denser where floats are, so bins have a constant relative width (2**-13 at the default of
    2**20 bins: a gap of about 3e-5) however small the click rate. Pairs in different bins are ranked for certain; pairs
    within one bin are all lost in `low` and all won in `high`. A bin that saw one single score holds ties only, which
    count half in both: constant or coarse scores give the exact value. 24 bytes a bin, on `device`.
    """

    def __init__(self, *, bin_bits: int = 20, device: torch.device | str = "cpu") -> None:
        self._num_bins = 2**bin_bits
        self._shift = _BITS_OF_ONE - bin_bits
        self._counts = torch.zeros(2 * self._num_bins, dtype=torch.int64, device=device)
        self._lowest = torch.full((self._num_bins,), _MOST_BITS, dtype=torch.int32, device=device)
        self._highest = torch.full((self._num_bins,), -1, dtype=torch.int32, device=device)
        self._num_bad = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Takes probabilities [B], float32, and labels 0/1 [B] on the device; no copy to the host, no waiting."""
        scores = scores.detach().float().reshape(-1)
        labels = labels.reshape(-1)
        sound = (scores >= 0) & (scores <= 1) & ((labels == 0) | (labels == 1))
        self._num_bad += (~sound).sum()
        # Bad rows become score 0, label 0 (NaN has no bin); `bounds` refuses to speak once there are any.
        bits = (torch.where(sound, scores, 0.0) + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
        bins = (bits >> self._shift).long()
        is_positive = torch.where(sound, labels, 0).long()
        self._counts.scatter_add_(0, bins + is_positive * self._num_bins, torch.ones_like(bins))
        self._lowest.scatter_reduce_(0, bins, bits, "amin")
        self._highest.scatter_reduce_(0, bins, bits, "amax")

    def bounds(self, process_group: Any = None, *, all_ranks: bool = False) -> AucBounds:
        """Bounds over everything added so far, on this rank or, with `all_ranks` (a collective), on all of them.

        Raises DataError, on all ranks alike, where a score was no probability or a label neither 0 nor 1.
        """
        counts, lowest, highest, num_bad = self._counts, self._lowest, self._highest, self._num_bad
        if all_ranks:
            counts, num_bad = (_reduced(item, dist.ReduceOp.SUM, process_group) for item in (counts, num_bad))
            lowest = _reduced(lowest, dist.ReduceOp.MIN, process_group)
            highest = _reduced(highest, dist.ReduceOp.MAX, process_group)
        if num_bad.item():
            raise DataError(
                f"{num_bad.item():,} rows had a score outside [0, 1] (or NaN) or a label that is neither 0 nor 1; "
                "pass probabilities (a sigmoid of the logits), and look at the loss for NaN"
            )
        negatives, positives = counts.view(2, -1).unbind()
        return _bounds(negatives, positives, lowest == highest)


def _reduced(values: Tensor, operation: Any, process_group: Any) -> Tensor:
    copy = values.clone()  # what this rank counted itself stays as it is
    dist.all_reduce(copy, operation, group=process_group)
    return copy


def _bounds(negatives: Tensor, positives: Tensor, holds_ties_only: Tensor) -> AucBounds:
    """Twice the pairs won for certain, and the pairs that could go either way, in integers (exact up to 4e9 rows)."""
    below = negatives.cumsum(0) - negatives
    certain = 2 * int((positives * below).sum()) + int((positives * negatives)[holds_ties_only].sum())
    undecided = 2 * int((positives * negatives)[~holds_ties_only].sum())
    num_positives, num_negatives = int(positives.sum()), int(negatives.sum())
    pairs = 2 * num_positives * num_negatives
    if pairs == 0:
        return AucBounds(float("nan"), float("nan"), num_positives, num_negatives)
    return AucBounds(certain / pairs, (certain + undecided) / pairs, num_positives, num_negatives)
