"""Fused tables on the CPU are updated by all threads of a rank, each of which takes some; small batches by one.

FBGEMM's backward pass goes through the tables one after the other and leaves nearly all of the work to one thread, however many
there are; at small batches their meeting alone takes longer than the work. No two tables share a row, so a call for each share
of them updates the same rows, to the bit, at the same time.

The calls are those of fbgemm-gpu 1.8.0's own backward pass (`split_embedding_backward_codegen_*_cpu`), and what they are given
are its module's attributes: both are private, and tests hold the updates to those of the backward pass.

Legend: B rows of the batch, T features looked up, D their width.
"""

import ctypes
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import accumulate, pairwise
from threading import Barrier
from typing import Any

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import SplitTableBatchedEmbeddingBagsCodegen
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sharding_plans.applying.held_bytes import table_kernels
from sharding_plans.applying.single_ids import are_single, is_worth_adding, look_up_single, trained_single
from sharding_plans.planning.one_rank import FEW_VALUES

_ARGUMENTS = ("indices", "offsets", "per_sample_weights", "feature_requires_grad", "batch_size_per_feature_per_rank")
"""Of the module's `forward`, in their order."""
_pause_resources = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
"""OpenMP's, of the library that torch computes with; none where that knows OpenMP before 5.0 alone."""
_SOFTLY = 1


def update_tables_by_all_threads(sharded: nn.Module) -> None:
    """From now on the threads of this rank share the fused tables of this model between them when they are updated."""
    for kernel in table_kernels(sharded):
        if isinstance(kernel, SplitTableBatchedEmbeddingBagsCodegen) and kernel.use_cpu:
            share_updates(kernel)


def share_updates(kernel: SplitTableBatchedEmbeddingBagsCodegen) -> None:
    """Do so for the tables of one kernel, and look them up the faster way where there is one."""
    kernel.forward = partial(_pooled, kernel, kernel.forward)


def _pooled(kernel: Any, forward: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """The pooled embeddings that `forward` gives, with another backward pass where that is worth it."""
    given: dict[str, Any] = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
    indices, offsets, weights = given["indices"], given["offsets"], given.get("per_sample_weights")
    if is_worth_adding(kernel, indices) and _is_known(kernel, given) and are_single(kernel, indices, offsets, weights):
        return trained_single(kernel, indices, offsets)
    if torch.get_num_threads() == 1:
        return forward(*args, **kwargs)
    if len(indices) * kernel.total_D < FEW_VALUES * len(kernel.feature_table_map):
        return _updated_by_one_thread(forward(*args, **kwargs))
    if not _is_known(kernel, given):
        return forward(*args, **kwargs)
    if are_single(kernel, indices, offsets, weights):
        pooled = look_up_single(kernel, indices, offsets)
    else:
        pooled = forward(*args, **kwargs).detach()
    if not torch.is_grad_enabled():
        return pooled
    return _Updated.apply(kernel.weights_host, pooled, kernel, indices, offsets, weights)  # pyright: ignore[reportReturnType]


def _updated_by_one_thread(pooled: Tensor) -> Tensor:
    if pooled.grad_fn is not None:
        pooled.grad_fn.register_prehook(partial(_set_threads, 1))
        pooled.grad_fn.register_hook(partial(_set_threads, torch.get_num_threads()))
    return pooled


def _is_known(kernel: Any, given: dict[str, Any]) -> bool:
    """Whether the backward pass does one of the updates below and nothing else: no gradient of weights, no clipping."""
    weights = given.get("per_sample_weights")
    return (
        kernel.optimizer in _UPDATES
        and kernel.weights_host.dtype == torch.float32
        and kernel.pooling_mode != PoolingMode.NONE
        and not kernel.optimizer_args.gradient_clipping
        and all(given.get(name) is None for name in _ARGUMENTS[3:])
        and (weights is None or not weights.requires_grad)
    )


def _set_threads(num_threads: int, *gradients: Any) -> None:
    torch.set_num_threads(num_threads)


class _Updated(torch.autograd.Function):
    """Pooled embeddings, [B, sum of D]; the backward pass updates the tables that they came from."""

    @staticmethod
    def forward(
        ctx: Any, tables: Tensor, pooled: Tensor, kernel: Any, indices: Tensor, offsets: Tensor, weights: Tensor | None
    ) -> Tensor:
        ctx.kernel = kernel
        ctx.save_for_backward(indices, offsets, weights)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        indices, offsets, weights = ctx.saved_tensors
        kernel, num_features = ctx.kernel, len(ctx.kernel.feature_table_map)
        ends = offsets[:: (len(offsets) - 1) // num_features].tolist()
        update = partial(_update, kernel, gradients[0].contiguous(), indices.long(), offsets.long(), weights, ends)
        _at_once(update, _shares(kernel, ends, torch.get_num_threads()))
        return (None,) * 6


def _shares(kernel: Any, ends: list[int], most: int) -> list[tuple[int, int]]:
    """Successive features in shares of about as many looked-up values; a table's features stay together.

    `ends`: where the ids of each feature begin, and where those of the last end, [T + 1].
    """
    tables, places = kernel.feature_table_map, kernel.D_offsets.tolist()
    widths = (end - start for start, end in pairwise(places))
    done = [0, *accumulate((end - start) * width for (start, end), width in zip(pairwise(ends), widths, strict=True))]
    cuts = [t for t in range(1, len(tables)) if tables[t] != tables[t - 1]]
    chosen = {0, len(tables)}
    for share in range(1, most):
        at = bisect_left(cuts, done[-1] * share / most, key=done.__getitem__)
        nearest = sorted(cuts[max(0, at - 1) : at + 1], key=lambda t: abs(done[t] - done[-1] * share / most))
        chosen.update(nearest[:1])
    return list(pairwise(sorted(chosen)))


def _update(
    kernel: Any,
    gradient: Tensor,
    indices: Tensor,
    offsets: Tensor,
    weights: Tensor | None,
    ends: list[int],
    share: tuple[int, int],
) -> None:
    """Update the tables of features `share`: the arguments of FBGEMM's backward pass, but for what it numbers by feature."""
    first, behind = share
    num_rows = (len(offsets) - 1) // (len(ends) - 1)
    ids, features = slice(ends[first], ends[behind]), slice(first, behind)
    name, of_optimizer = _UPDATES[kernel.optimizer]
    getattr(torch.ops.fbgemm, f"split_embedding_backward_codegen_{name}_cpu")(
        gradient,
        kernel.weights_host.detach(),
        kernel.weights_placements[features],
        kernel.weights_offsets[features],
        kernel.D_offsets[first : behind + 1],
        kernel.max_D,
        kernel.hash_size_cumsum[first : behind + 1],
        kernel.total_hash_size_bits,
        indices[ids],
        offsets[first * num_rows : behind * num_rows + 1] - ends[first],
        int(kernel.pooling_mode),
        torch.empty(0) if weights is None else weights[ids],
        kernel.optimizer_args.stochastic_rounding,
        *of_optimizer(kernel, features),
        output_dtype=kernel.output_dtype,
    )


def _of_sgd(kernel: Any, features: slice) -> tuple[Any, ...]:
    return (kernel.learning_rate_tensor,)


def _of_adagrad(kernel: Any, features: slice) -> tuple[Any, ...]:
    state = kernel.momentum1_placements[features], kernel.momentum1_offsets[features]
    return kernel.momentum1_host, *state, kernel.learning_rate_tensor, kernel.optimizer_args.eps


def _of_rowwise_adagrad(kernel: Any, features: slice) -> tuple[Any, ...]:
    given = kernel.optimizer_args
    return *_of_adagrad(kernel, features), given.weight_decay, given.weight_decay_mode, given.max_norm


_UPDATES: dict[EmbOptimType, tuple[str, Callable[[Any, slice], tuple[Any, ...]]]] = {
    EmbOptimType.EXACT_SGD: ("sgd", _of_sgd),
    EmbOptimType.EXACT_ADAGRAD: ("adagrad", _of_adagrad),
    EmbOptimType.EXACT_ROWWISE_ADAGRAD: ("rowwise_adagrad", _of_rowwise_adagrad),
}


def _at_once(task: Callable[[tuple[int, int]], None], shares: list[tuple[int, int]]) -> None:
    """The task for every share, each by a thread that has no team of its own; this thread takes the first."""
    num_threads = torch.get_num_threads()
    _end_team()
    others = [_threads(num_threads).submit(task, share) for share in shares[1:]]
    torch.set_num_threads(1)
    try:
        task(shares[0])
    finally:
        wait(others)
        torch.set_num_threads(num_threads)
    for each in others:
        each.result()


def _end_team() -> None:
    """Let libgomp's other threads end; the next operation starts them again, which takes a tenth of a millisecond.

    Otherwise they look out for work of their own for milliseconds, on the cores that these threads are to work on.
    """
    if _pause_resources:
        _pause_resources(_SOFTLY)


@cache
def _threads(num_threads: int) -> ThreadPoolExecutor:
    """The other ones of so many threads, none of which has a team of its own."""
    pool = ThreadPoolExecutor(num_threads - 1, "shardline-update", initializer=torch.set_num_threads, initargs=(1,))
    all_here = Barrier(num_threads - 1)
    wait([pool.submit(all_here.wait) for _ in range(num_threads - 1)])
    torch.set_num_threads(num_threads)  # torch takes the last number that was set, by whatever thread, for new threads
    return pool
