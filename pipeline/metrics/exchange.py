"""What exact counting needs from the other ranks: sums, small objects from all, and rows handed to their block's owner."""

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.rows import Rows, merge_rows


class Exchange(Protocol):
    """The ranks that count together. Every method is called by all of them in the same order."""

    rank: int
    num_ranks: int

    def total(self, counts: NDArray) -> NDArray:
        """The sum over ranks of int64 `counts`."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """The `value` of each rank, in rank order, on every rank. Small picklable values."""
        ...

    def deal(self, pieces: Sequence[Rows]) -> Rows:
        """Sends `pieces[r]` to rank r; what all ranks sent here, merged into one order."""
        ...


class Alone:
    """A single process: everything is already here."""

    rank = 0
    num_ranks = 1

    def total(self, counts: NDArray) -> NDArray:
        return counts

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def deal(self, pieces: Sequence[Rows]) -> Rows:
        return pieces[0]


class GlooExchange:
    """The ranks of a torch.distributed process group that can move CPU tensors (a gloo group is made where it cannot)."""

    def __init__(self, process_group: Any = None) -> None:
        import torch.distributed as dist

        if process_group is None and dist.get_backend() != "gloo":
            process_group = dist.new_group(backend="gloo")
        self._group = process_group
        self.rank = dist.get_rank(process_group)
        self.num_ranks = dist.get_world_size(process_group)

    def total(self, counts: NDArray) -> NDArray:
        import torch
        import torch.distributed as dist

        summed = torch.from_numpy(np.array(counts, np.int64))
        dist.all_reduce(summed, group=self._group)
        return summed.numpy()

    def gather(self, value: Any) -> list[Any]:
        import torch.distributed as dist

        values: list[Any] = [None] * self.num_ranks
        dist.all_gather_object(values, value, group=self._group)
        return values

    def deal(self, pieces: Sequence[Rows]) -> Rows:
        sizes = self.gather([(len(piece), piece.counts is not None) for piece in pieces])
        received = [size[self.rank][0] for size in sizes]
        keys = self._swap([piece.keys for piece in pieces], received)
        weights = counts = None
        if pieces[0].weights is not None:
            weights = self._swap([piece.weights for piece in pieces], received)
        if any(has_counts for size in sizes for _, has_counts in size):
            counts = self._swap([_counts(piece) for piece in pieces], received)
        ends = np.cumsum([0, *received])
        everything = Rows(keys, weights, counts)
        return merge_rows([everything.part(*cut) for cut in itertools.pairwise(ends)])

    def _swap(self, columns: Sequence[Any], received: list[int]) -> NDArray:
        """All-to-all of one column; numbers travel as the signed integers of their width, which torch knows."""
        import torch
        import torch.distributed as dist

        dtype = columns[0].dtype
        wire = np.dtype(f"i{dtype.itemsize}")
        sent = torch.from_numpy(np.concatenate(columns).view(wire))
        result = torch.empty(sum(received), dtype=sent.dtype)
        dist.all_to_all_single(result, sent, received, [len(column) for column in columns], group=self._group)
        return result.numpy().view(dtype)


def _counts(rows: Rows) -> NDArray:
    return np.ones(len(rows), np.int64) if rows.counts is None else rows.counts
