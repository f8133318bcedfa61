"""Fused tables on the CPU where every bag has one id and all tables are as wide: looked up, and updated, as one table.

FBGEMM's kernels go through the tables one after the other, so that what they write for one lies far apart, as often as there
are rows in the batch. torch's `embedding_bag` of all tables as one writes in order, in half the time (Zen 4), and uses the same
kernel for a bag: the same bits. SGD adds to the rows what `scatter_add_` sorts by them, of all tables at once: up to some ten
thousands of ids that takes less time than a sort for each table, above it more where few rows have most of the ids. An id that
a batch has twice is added twice, which FBGEMM adds up before: last bits differ. What is read here of FBGEMM's module is private,
as in table_updates.py, and tests hold what is looked up and updated to its own.

Legend: B rows of the batch, T features looked up, D their width.
"""

from functools import lru_cache
from typing import Any

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType, SparseType
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FEWEST, _MOST = 2**10, 2**16
"""Ids of a batch between which rows are updated as those of one table."""
_NARROWEST = 16
"""Columns below which `scatter_add_` goes value by value."""


def are_single(kernel: Any, indices: Tensor, offsets: Tensor, weights: Tensor | None) -> bool:
    """Whether the ids, [B * T] and by feature, can be looked up so in a kernel that has float32 tables and pools."""
    is_alike = kernel.max_D * len(kernel.feature_table_map) == kernel.total_D
    if not is_alike or weights is not None or kernel.output_dtype != SparseType.FP32.as_int():
        return False
    return len(offsets) == len(indices) + 1 and torch.equal(offsets, _counted(len(offsets), offsets.dtype))


def look_up_single(kernel: Any, indices: Tensor, offsets: Tensor) -> Tensor:
    """The rows of the ids, [B, T * D], without a gradient. Ids are checked as the kernel does."""
    return _rows(kernel, _places(kernel, indices, offsets))


def is_worth_adding(kernel: Any, indices: Tensor) -> bool:
    """Whether to update the rows of so many ids by `trained_single`: by SGD, and in less time than FBGEMM takes."""
    is_known = kernel.optimizer == EmbOptimType.EXACT_SGD and kernel.max_D >= _NARROWEST
    return is_known and _FEWEST < len(indices) <= _MOST


def trained_single(kernel: Any, indices: Tensor, offsets: Tensor) -> Tensor:
    """What `look_up_single` gives; its backward pass updates the rows by SGD at the kernel's learning rate."""
    places = _places(kernel, indices, offsets)
    rows = _rows(kernel, places)
    return _Added.apply(kernel.weights_host, rows, kernel, places) if torch.is_grad_enabled() else rows  # pyright: ignore[reportReturnType]


class _Added(torch.autograd.Function):
    """Rows that were looked up, [B, T * D]; the backward pass adds their gradients, times the rate, to where they came from."""

    @staticmethod
    def forward(ctx: Any, tables: Tensor, rows: Tensor, kernel: Any, places: Tensor) -> Tensor:
        ctx.kernel = kernel
        ctx.save_for_backward(places)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (places,) = ctx.saved_tensors
        kernel, width = ctx.kernel, ctx.kernel.max_D
        steps = (gradients[0].contiguous() * -kernel.learning_rate_tensor).view(-1, width)
        kernel.weights_host.detach().view(-1, width).scatter_add_(0, places.view(-1, 1).expand(-1, width), steps)
        return (None,) * 4


def _places(kernel: Any, indices: Tensor, offsets: Tensor) -> Tensor:
    """Where the rows of the ids lie among those of all tables, int64 [B, T]."""
    indices = kernel.prepare_inputs(indices, offsets)[0].view(len(kernel.feature_table_map), -1)
    places = indices.new_empty(indices.shape[1], indices.shape[0], dtype=torch.int64)
    return torch.add(indices.t(), kernel.weights_offsets // kernel.max_D, out=places)


def _rows(kernel: Any, places: Tensor) -> Tensor:
    with torch.no_grad():
        rows = kernel.weights_host.view(-1, kernel.max_D)
        return functional.embedding_bag(places.view(-1, 1), rows, mode="sum").view(-1, kernel.total_D)


@lru_cache(2)
def _counted(number: int, dtype: torch.dtype) -> Tensor:
    return torch.arange(number, dtype=dtype)
