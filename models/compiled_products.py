"""The dot interaction as loops over a row's vectors, compiled by `torch.compile` for the processor (inductor: C++ and OpenMP).

Libraries multiply matrices of 27 x 64 far below their speed with large ones, and write all n * n products, of which a half is
dropped. The compiled loops take what they need, side by side in vector registers. They add in float32, in another order.

Legend: B batch rows, F embeddings of a row, D their width, n = F + 1 vectors with the dense one (n = F without), P pairs.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx

from models.own_gradients import OwnGradient, differentiable_once
from models.pair_products import gradient_of_products

fx.wrap("compiled_pair_products")  # train pipelines trace the ranker, and take it as one step


def compiled_pair_products(dense: Tensor, embedded: Tensor, pairs: Tensor, places: Tensor, dim: int) -> Tensor:
    """What `models.pair_products.trained_pair_products` gives, float32 [B, width + P]; compiled when it is first called."""
    return CompiledPairProducts.apply(dense, embedded, pairs, places, dim)


class CompiledPairProducts(OwnGradient):
    """The products and their gradient, both read from the dense vectors and the embeddings where they lie."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, embedded: Tensor, pairs: Tensor, places: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(dense, embedded, places)
        ctx.dim, num_vectors = dim, (dense.shape[1] + embedded.shape[1]) // dim
        ctx.is_with_itself = len(pairs) > num_vectors * (num_vectors - 1) // 2
        return _compiled(_products)(dense, embedded, pairs // num_vectors, pairs % num_vectors, dim)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        dense, embedded, places = ctx.saved_tensors
        num_vectors = (dense.shape[1] + embedded.shape[1]) // ctx.dim
        of_products = gradient_of_products(gradient, places.view(num_vectors, -1), 0, ctx.is_with_itself)
        return *_compiled(_gradients)(of_products, gradient, dense, embedded, ctx.dim), None, None, None


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled for the first size of a batch, and once more, for all sizes, should there be another."""
    return torch.compile(function, fullgraph=True)


def _products(dense: Tensor, embedded: Tensor, rows: Tensor, columns: Tensor, dim: int) -> Tensor:
    """The dense vector, and behind it the products of vectors `rows` [P] with vectors `columns` [P]."""
    vectors = torch.cat([dense, embedded], dim=1).view(embedded.shape[0], -1, dim)
    return torch.cat([dense, (vectors[:, rows] * vectors[:, columns]).sum(2)], dim=1)


def _gradients(
    of_products: Tensor, gradient: Tensor, dense: Tensor, embedded: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """Of the dense vector and of the embeddings, from those of all n * n products, [B, n, n], and of the output.

    Apart, so that each is in one piece, as FBGEMM wants it.
    """
    vectors, width = embedded.view(embedded.shape[0], -1, dim), dense.shape[1]
    if not width:
        return torch.zeros_like(dense), (of_products[..., None] * vectors[:, None]).sum(2).flatten(1)
    of_dense, of_embedded = of_products[:, 0, :, None], of_products[:, 1:, :, None]
    through_dense = of_embedded[:, :, 0] * dense[:, None]
    return (
        (of_dense[:, 1:] * vectors).sum(1) + of_dense[:, 0] * dense + gradient[:, :width],
        ((of_embedded[:, :, 1:] * vectors[:, None]).sum(2) + through_dense).flatten(1),
    )
