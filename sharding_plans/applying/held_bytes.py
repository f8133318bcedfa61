"""Bytes that this rank's tables and the states of their fused optimizers really take, read off the kernels' own tensors."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection

_PLACES = ("dev", "host", "uvm")


@dataclass(frozen=True, kw_only=True)
class HeldBytes:
    """Bytes of one rank: weights of its shards, and the optimizer states that the kernels keep beside them."""

    weights: int
    state: int


def held_bytes(sharded: nn.Module) -> HeldBytes:
    """What the kernels of this rank's shards hold; data-parallel tables have their state in an optimizer of their own."""
    weights, states = [], []
    for kernel in table_kernels(sharded):
        weights += _tensors(kernel, "weights")
        states += [*_tensors(kernel, "momentum1"), *_tensors(kernel, "momentum2")]
    return HeldBytes(weights=allocated_bytes(weights), state=allocated_bytes(states))


def allocated_bytes(tensors: list[Tensor]) -> int:
    """Bytes of the memory behind tensors, counted once where several share it."""
    behind = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(behind.values())


def table_kernels(sharded: nn.Module) -> Iterator[nn.Module]:
    """FBGEMM's kernels: TorchRec keeps the lookups in a plain list, where `modules()` does not find them."""
    for module in sharded.modules():
        if isinstance(module, ShardedEmbeddingBagCollection):
            for lookup in module._lookups:
                inner = lookup.module if isinstance(lookup, DistributedDataParallel) else lookup
                yield from (each._emb_module for each in inner._emb_modules)  # pyright: ignore


def _tensors(kernel: nn.Module, name: str) -> list[Tensor]:
    found = [getattr(kernel, name, None), *(getattr(kernel, f"{name}_{place}", None) for place in _PLACES)]
    return [tensor for tensor in found if isinstance(tensor, Tensor) and tensor.numel()]
