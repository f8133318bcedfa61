"""Looking up fused tables on the CPU where every bag has one id and all tables are as wide: row of the batch by row.

FBGEMM's kernel goes through the tables one after the other, so that what it writes for one lies far apart, as often as there are
rows in the batch. torch's `embedding_bag` of all tables as one writes in order, in half the time (Zen 4), and uses the same
kernel for a bag: the same bits. What is read here of FBGEMM's module is private, as in table_updates.py, and tests hold what is
looked up to its own.

Legend: B rows of the batch, T features looked up, D their width.
"""

from functools import lru_cache
from typing import Any

import torch
from fbgemm_gpu.split_embedding_configs import SparseType
from torch import Tensor
from torch.nn import functional


def are_single(kernel: Any, indices: Tensor, offsets: Tensor, weights: Tensor | None) -> bool:
    """Whether the ids, [B * T] and by feature, can be looked up so in a kernel that has float32 tables and pools."""
    is_alike = kernel.max_D * len(kernel.feature_table_map) == kernel.total_D
    if not is_alike or weights is not None or kernel.output_dtype != SparseType.FP32.as_int():
        return False
    return len(offsets) == len(indices) + 1 and torch.equal(offsets, _counted(len(offsets), offsets.dtype))


def look_up_single(kernel: Any, indices: Tensor, offsets: Tensor) -> Tensor:
    """The rows of the ids, [B, T * D], without a gradient. Ids are checked as the kernel does."""
    indices = kernel.prepare_inputs(indices, offsets)[0].view(len(kernel.feature_table_map), -1)
    first_rows = kernel.weights_offsets // kernel.max_D
    with torch.no_grad():
        rows = kernel.weights_host.view(-1, kernel.max_D)
        places = indices.new_empty(indices.shape[1], indices.shape[0])
        torch.add(indices.t(), first_rows, out=places)
        return functional.embedding_bag(places.view(-1, 1), rows, mode="sum").view(-1, kernel.total_D)


@lru_cache(2)
def _counted(number: int, dtype: torch.dtype) -> Tensor:
    return torch.arange(number, dtype=dtype)
