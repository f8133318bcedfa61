"""Tables held whole: on the CPU they are looked up by FBGEMM's operator alone, and a kernel's updated as the one that they are.

At small batches what stands around lookups and updates takes as long as they do. FBGEMM's module works out at every lookup what
batches of several sizes would need, and asks itself for a dozen values that never change; TorchRec's tables make a view of their
gradient whenever it is asked for. The operator and the values are fbgemm-gpu 1.8.0's own and private: a test holds the lookups
and their gradients to those of the module.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from fbgemm_gpu.split_table_batched_embeddings_ops_training import DenseTableBatchedEmbeddingBagsCodegen
from torch import Tensor, nn

from sharding_plans.applying.held_bytes import table_kernels

_FIXED = (
    "weights_offsets",
    "D_offsets",
    "total_D",
    "max_D",
    "hash_size_cumsum",
    "total_hash_size_bits",
    "pooling_mode",
    "output_dtype",
)
"""Of the module: what the operator is given by the same names."""
_OF_SEVERAL_SIZES: dict[str, Any] = {
    "feature_requires_grad": None,
    "B_offsets": None,
    "vbe_output_offsets_feature_rank": None,
    "vbe_B_offsets_rank_per_feature": None,
    "max_B": -1,
    "max_B_feature_rank": -1,
    "vbe_output_size": -1,
}
"""What it is given where all features have one batch size, and all learn."""


def look_up_whole_tables_directly(sharded: nn.Module) -> None:
    """From now on this rank's data-parallel tables are looked up so, where they lie on the CPU."""
    for kernel in table_kernels(sharded):
        if isinstance(kernel, DenseTableBatchedEmbeddingBagsCodegen) and kernel.use_cpu:
            look_up_directly(kernel)


def look_up_directly(kernel: DenseTableBatchedEmbeddingBagsCodegen) -> None:
    """Do so for the tables of one kernel."""
    given = {name: getattr(kernel, name) for name in _FIXED} | _OF_SEVERAL_SIZES
    operator: Any = torch.ops.fbgemm.dense_embedding_codegen_lookup_function.default
    kernel.forward = partial(_pooled, kernel, kernel.forward, partial(operator, **given))


def kept_in(weights: Iterable[nn.Parameter]) -> list[tuple[nn.Parameter, list[nn.Parameter]]]:
    """The parameters that hold these, each with those that it holds: a kernel's where all of its tables are among them, and
    otherwise they themselves.

    TorchRec's tables are slices of their kernel's parameter, which they keep as a private attribute; a test fails without it.
    """
    holders: dict[int, tuple[nn.Parameter, list[nn.Parameter]]] = {}
    for each in weights:
        holder = getattr(each, "_original_tensor", each)
        holders.setdefault(id(holder), (holder, []))[1].append(each)
    found: list[tuple[nn.Parameter, list[nn.Parameter]]] = []
    for holder, held in holders.values():
        is_all = sum(each.numel() for each in held) == holder.numel()
        found += [(holder, held)] if is_all else [(each, [each]) for each in held]
    return found


def _pooled(
    kernel: DenseTableBatchedEmbeddingBagsCodegen,
    forward: Callable[..., Tensor],
    operator: Callable[..., Tensor],
    indices: Tensor,
    offsets: Tensor,
    per_sample_weights: Tensor | None = None,
    *others: Any,
    **other: Any,
) -> Tensor:
    """The pooled embeddings [B, sum of D], by the module's `forward` where it is asked for more than the operator is given."""
    if any(each is not None for each in (*others, *other.values())):
        return forward(indices, offsets, per_sample_weights, *others, **other)
    weights = None if per_sample_weights is None else per_sample_weights.float()
    return operator(kernel.weights, indices=indices, offsets=offsets.to(indices.dtype), indice_weights=weights)
