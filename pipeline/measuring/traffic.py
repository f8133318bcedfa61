"""Bytes that a rank sends and receives: counted as its collectives are called, as ideal transfers.

All-to-all sends what others need once; reduce-scatter, all-gather and all-reduce are rings. What a process group really moves
(headers, another algorithm) is not seen. Collectives that autograd calls from a thread of its own, as it does on GPUs, are
not seen either: there the backward half is missing.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class CountedTraffic(TorchDispatchMode):
    """Inside the block: `sent` and `received`, bytes to and from other ranks."""

    def __init__(self, rank: int, num_ranks: int) -> None:
        super().__init__()
        self._rank, self._num_ranks = rank, num_ranks
        self.sent = self.received = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self._count(func._schema.name.removeprefix("c10d::").strip("_"), args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, args: tuple[Any, ...]) -> None:
        others = self._num_ranks - 1
        if name == "alltoall_base":
            output, source = args[0], args[1]
            self._add(self._to_others(source, args[4]), self._to_others(output, args[3]))
        elif name == "alltoall":
            self._add(self._of_others(args[1]), self._of_others(args[0]))
        elif name in ("reduce_scatter_base", "reduce_scatter"):
            whole = _bytes(args[1]) * others // self._num_ranks
            self._add(whole, whole)
        elif name in ("allgather_base", "allgather"):
            whole = _bytes(args[0]) * others // self._num_ranks
            self._add(whole, whole)
        elif name == "allreduce":
            whole = 2 * _bytes(args[0]) * others // self._num_ranks
            self._add(whole, whole)

    def _add(self, sent: int, received: int) -> None:
        self.sent += sent
        self.received += received

    def _to_others(self, tensor: Tensor, splits: list[int]) -> int:
        """Bytes of a tensor that is cut among the ranks, evenly unless told how, less this rank's own piece."""
        if not splits or not tensor.shape[0]:
            return _bytes(tensor) * (self._num_ranks - 1) // self._num_ranks
        return _bytes(tensor) * (sum(splits) - splits[self._rank]) // sum(splits)

    def _of_others(self, tensors: list[Tensor]) -> int:
        return sum(_bytes(tensor) for rank, tensor in enumerate(tensors) if rank != self._rank)


def _bytes(tensors: Any) -> int:
    if isinstance(tensors, torch.Tensor):
        return tensors.numel() * tensors.element_size()
    return sum(map(_bytes, tensors)) if isinstance(tensors, Iterable) else 0
