"""Dot products of all pairs of a row's vectors: what the dot interaction computes, and its gradient in as few passes as it takes.

Legend: B batch rows, F embeddings of a row, D their width, n = F + 1 vectors with the dense one (n = F without), P pairs.
"""

from typing import Any

import torch
from torch import Tensor, fx

from models.own_gradients import OwnGradient, differentiable_once
from models.processor import is_from_intel
from models.trained_layers import autocast_type

fx.wrap("trained_pair_products")  # train pipelines trace the ranker, and take it as one step

_SLICE_BYTES = 2**62 if is_from_intel() else 2**21
"""Of the vectors computed at a time: with their products about what the second-level caches of two cores hold. On Intel's (Ice
Lake) slices brought nothing, and cost time where other work disturbs the threads, which meet at each operation."""

_FEW_PICKED = 2**15
"""Numbers up to which one thread picks columns faster than several: by `index_select`, which knows no others."""

_FEW = 2**18
"""Values of a batch's vectors up to which copying their gradients takes less time than computing the dense one's apart."""


def pair_products(dense: Tensor, embedded: Tensor, pairs: Tensor, dim: int) -> Tensor:
    """The dense vector, and behind it v_i . v_j of all pairs: float32 [B, width + P].

    `dense` [B, D] or [B, 0], `embedded` [B, F * D]; `pairs` [P] are places in the n * n products of a row.
    """
    vectors = torch.cat([dense, embedded], dim=1).view(embedded.shape[0], -1, dim)
    products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
    return torch.cat([dense, products.index_select(1, pairs)], dim=1)


def trained_pair_products(dense: Tensor, embedded: Tensor, pairs: Tensor, places: Tensor, dim: int) -> Tensor:
    """The same, with a gradient by hand; in autocast in its type, [B, width + P] too, as the over arch takes it."""
    dtype = autocast_type(embedded) or torch.promote_types(dense.dtype, embedded.dtype)
    return PairProducts.apply(dense.to(dtype), embedded, pairs, places, dim)


class PairProducts(OwnGradient):
    """`pair_products` with its gradient in one batched product.

    For G [n, n] with the gradient of v_i . v_j at both (i, j) and (j, i), twice that of v_i . v_i, the gradient of the vectors
    is G V. Autograd would scatter the gradients into zeros and take a product for either factor. float32 on the CPU goes slice by
    slice of the batch, forward and backward, so that vectors and products of a slice stay in the cache between operations.
    """

    @staticmethod
    def forward(ctx: Any, dense: Tensor, embedded: Tensor, pairs: Tensor, places: Tensor, dim: int) -> Tensor:
        num_vectors = (dense.shape[1] + embedded.shape[1]) // dim
        ctx.width, ctx.embedded_type, ctx.dim = dense.shape[1], embedded.dtype, dim
        ctx.is_with_itself = pairs.shape[0] > num_vectors * (num_vectors - 1) // 2
        ctx.slices = _slices(dense, embedded)
        if len(ctx.slices) > 1:
            ctx.save_for_backward(dense, embedded, places)
            output = dense.new_empty(dense.shape[0], ctx.width + pairs.shape[0])
            for rows in ctx.slices:
                _with_products(dense[rows], _vectors(dense[rows], embedded[rows], dim), pairs, out=output[rows])
            return output
        vectors = _vectors(dense, embedded, dim)
        ctx.save_for_backward(vectors, places)
        return _with_products(dense, vectors, pairs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        if len(ctx.slices) > 1:
            of_dense, of_embedded = _of_slices(ctx, gradient, *ctx.saved_tensors)
        else:
            of_dense, of_embedded = _of_vectors(ctx, gradient, *ctx.saved_tensors)
            of_embedded = of_embedded.to(ctx.embedded_type).flatten(1)
        return of_dense, of_embedded, None, None, None


def _slices(dense: Tensor, embedded: Tensor) -> list[slice]:
    """Rows that are computed at a time: all of them but for float32 on the CPU."""
    num_rows, is_float32 = embedded.shape[0], dense.dtype == embedded.dtype == torch.float32
    num_slices = -(-num_rows * 4 * (dense.shape[1] + embedded.shape[1]) // _SLICE_BYTES)
    if num_slices <= 1 or not is_float32 or embedded.device.type != "cpu":
        return [slice(num_rows)]
    size = -(-num_rows // num_slices)
    return [slice(start, start + size) for start in range(0, num_rows, size)]


def _vectors(dense: Tensor, embedded: Tensor, dim: int) -> Tensor:
    """The vectors of each row, [B, n, dim], in the type of the dense one."""
    if dense.dtype == embedded.dtype:
        return torch.cat([dense, embedded], dim=1).view(dense.shape[0], -1, dim)
    width = dense.shape[1]
    vectors = dense.new_empty(dense.shape[0], width + embedded.shape[1])
    vectors[:, :width], vectors[:, width:] = dense, embedded
    return vectors.view(dense.shape[0], -1, dim)


def _with_products(dense: Tensor, vectors: Tensor, pairs: Tensor, out: Tensor | None = None) -> Tensor:
    """The dense vector, and behind it the products of pairs of vectors, [B, width + P]."""
    products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
    return torch.cat([dense, _columns(products, pairs)], dim=1, out=out)


def _of_slices(ctx: Any, gradient: Tensor, dense: Tensor, embedded: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the dense vector, [B, width], and of the embeddings, [B, F * D], slice by slice."""
    of_dense, of_embedded = torch.empty_like(dense), torch.empty_like(embedded)
    for rows in ctx.slices:
        vectors = _vectors(dense[rows], embedded[rows], ctx.dim)
        out = of_embedded[rows].view(vectors.shape[0], -1, ctx.dim)
        of_dense[rows] = _of_vectors(ctx, gradient[rows], vectors, places, out)[0]
    return of_dense, of_embedded


def _of_vectors(
    ctx: Any, gradient: Tensor, vectors: Tensor, places: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gradient of the dense vector, [B, width], and of the embeddings, [B, F, D], in `out` where it is given."""
    places, has_dense = places.view(vectors.shape[1], vectors.shape[1]), int(ctx.width > 0)
    is_copied = gradient.dtype != ctx.embedded_type  # the embeddings', in any case
    if has_dense and (is_copied or (out is None and vectors.numel() <= _FEW)):
        whole = torch.bmm(gradient_of_products(gradient, places, 0, ctx.is_with_itself), vectors)
        return whole[:, 0] + gradient[:, : ctx.width], whole[:, 1:] if is_copied else whole[:, 1:].contiguous()
    # Apart, so that the larger one is in one piece, as FBGEMM wants it.
    of_embedded = torch.bmm(gradient_of_products(gradient, places, has_dense, ctx.is_with_itself), vectors, out=out)
    if not has_dense:
        return gradient.new_empty(gradient.shape[0], 0), of_embedded
    of_dense = torch.bmm(gradient_of_products(gradient, places[:1], 0, ctx.is_with_itself), vectors).squeeze(1)
    return of_dense + gradient[:, : ctx.width], of_embedded


def pairs_and_places(num_vectors: int, width: int, *, with_itself: bool) -> tuple[Tensor, Tensor]:
    """Where pairs lie among a row's n * n products, int64 [P]; and for each of the products the column that its pair has.

    The columns, int64 [n * n], are those of the interaction's output, behind the dense vector of `width`; 0 where no pair is.
    """
    rows, columns = torch.tril_indices(num_vectors, num_vectors, offset=0 if with_itself else -1)
    places = torch.zeros(num_vectors, num_vectors, dtype=torch.int64)
    places[rows, columns] = places[columns, rows] = width + torch.arange(len(rows))
    return rows * num_vectors + columns, places.flatten()


def gradient_of_products(gradient: Tensor, places: Tensor, first: int, is_with_itself: bool) -> Tensor:
    """The gradient of products of vectors `first` and later with all n, [B, n - first, n], from the output's [B, width + P]."""
    places = places[first:]
    whole = _columns(gradient, places.flatten()).view(-1, *places.shape)
    itself = whole.diagonal(offset=first, dim1=1, dim2=2)
    if is_with_itself:
        itself.mul_(2.0)
    else:
        itself.zero_()
    return whole


def _columns(rows: Tensor, places: Tensor) -> Tensor:
    """The columns at `places` of [B, columns]; bfloat16 is picked as integers, since the CPU takes longer over it as numbers.

    A few numbers are picked in half the time by `index_select`.
    """
    if rows.dtype == torch.float32 and rows.shape[0] * places.shape[0] <= _FEW_PICKED:
        return rows.index_select(1, places)
    picked = rows.view(torch.int16) if rows.dtype == torch.bfloat16 else rows
    return picked.gather(1, places.expand(rows.shape[0], -1)).view(rows.dtype)
