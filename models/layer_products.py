"""The matrix products of linear layers, by the faster of torch's two libraries on the CPU.

torch gives float32 products to MKL, which does not use AVX512 on AMD's processors: oneDNN's take half the time there. On Intel's
MKL is faster, in weight gradients by a third, but for the way forward: oneDNN adds the bias and applies ReLU on the way. With
AVX2 alone they are as fast as each other. Both add in float32, in another order, so the last bits differ. bfloat16 is oneDNN's
in any case, asked directly on the way forward.

Legend: B batch rows, I and O features that go into a layer and come out.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.processor import is_from_intel

_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""x, weight, bias or None, name of what follows, its two arguments: private to torch, so a test holds it to `addmm`."""
_onednn_gradients: Any = torch.ops.aten.mkldnn_linear_backward_weights
"""Gradient and x as oneDNN's tensors, the weight (of which its shape is taken), whether there is a bias."""
_HAS_AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
_TYPES = (torch.float32, torch.bfloat16)
_MKL_HAS_AVX512 = is_from_intel()
_LARGE = 2**25
"""Multiply-adds of a product, B * I * O, from which on oneDNN makes up for what a call costs: some 70 microseconds, and more
where the threads worked for MKL in between."""
_WIDE = 384
"""Features that go in and come out from which on oneDNN's own gradient takes less time than a product of transposed copies."""
_WORTH_COPYING = 2**19
"""Multiply-adds of a weight's gradient from which on a transposed copy of it is no matter."""
_VECTOR, _MANY_ROWS, _LARGE_WEIGHT = 16, 512, 2**16
"""Floats of the widest vector register there is on CPUs; rows and values of a weight from which on MKL minds half-filled ones."""


def layer_output(x: Tensor, weight: Tensor, bias: Tensor | None, *, with_relu: bool) -> Tensor:
    """x weight^T + bias, [B, O] from x [B, I], weight [O, I] and bias [O], if there is one; behind ReLU where asked."""
    if _is_faster(x, weight.numel()):
        return _onednn(x, weight, bias, "relu" if with_relu else "none", [], "")
    output = x.mm(weight.t()) if bias is None else torch.addmm(bias, x, weight.t())
    return output.relu_() if with_relu else output


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """gradient weight: [B, I] from gradient [B, O] and weight [O, I]."""
    if _is_faster_backward(gradient, weight.numel()):
        return _onednn(gradient, weight.t(), None, "none", [], "")
    if not _is_uneven(gradient, weight):
        return gradient.mm(weight)
    missing = -weight.shape[1] % _VECTOR
    return gradient.mm(functional.pad(weight, (0, missing)))[:, :-missing]


def parameter_gradients(gradient: Tensor, x: Tensor, weight: Tensor, has_bias: bool) -> tuple[Tensor, Tensor | None]:
    """gradient^T x, [O, I] from gradient [B, O] and x [B, I], and the sum of the gradient's rows, [O], if there is a bias.

    The sum comes first: the gradient was just computed, and is still in the cache.
    """
    of_bias = gradient.sum(0) if has_bias else None
    if not _is_faster_backward(gradient, weight.numel()):
        of_weight = x.t().mm(gradient).t().contiguous() if _is_narrow(x, gradient) else gradient.t().mm(x)
    elif min(weight.shape) >= _WIDE:
        of_weight = _onednn_gradients(gradient.to_mkldnn(), x.to_mkldnn(), weight, False)[0].to_dense()
    elif x.shape[1] < gradient.shape[1]:  # the first factor is copied: the narrower one
        of_weight = _onednn(x.t(), gradient.t(), None, "none", [], "").t().contiguous()
    else:
        of_weight = _onednn(gradient.t(), x.t(), None, "none", [], "")
    return of_weight, of_bias


def is_small_product(x: Tensor, weight: Tensor) -> bool:
    """Whether x [B, I] and a layer's weight are float32 and their products small: MKL's, whatever the processor."""
    return weight.dtype == x.dtype == torch.float32 and x.shape[0] * weight.numel() < _LARGE


def add_parameter_gradients(weight: Tensor, bias: Tensor | None, gradient: Tensor, x: Tensor, factor: float) -> None:
    """weight += factor gradient^T x, and bias += factor sum of the gradient's rows, in place; of small products."""
    if _is_narrow(x, gradient):
        weight.add_(x.t().mm(gradient).t(), alpha=factor)
    else:
        weight.addmm_(gradient.t(), x, alpha=factor)
    if bias is not None:
        bias.addmv_(gradient.t(), _ones(gradient.shape[0]), alpha=factor)


@lru_cache(maxsize=8)
def _ones(num_rows: int) -> Tensor:
    return torch.ones(num_rows)


def _is_faster(rows: Tensor, num_weights: int) -> bool:
    """Whether oneDNN takes less time for a product of B rows and so many weights."""
    is_large = _HAS_AVX512 and rows.shape[0] * num_weights >= _LARGE
    return is_large and rows.device.type == "cpu" and rows.dtype in _TYPES and _onednn is not None


def _is_faster_backward(rows: Tensor, num_weights: int) -> bool:
    """The same of a gradient: torch asks oneDNN for those in bfloat16 itself."""
    return rows.dtype == torch.float32 and not _MKL_HAS_AVX512 and _is_faster(rows, num_weights)


def _is_uneven(gradient: Tensor, weight: Tensor) -> bool:
    """Whether rows of the weight [O, I] begin anywhere (415 columns), which makes MKL a third slower over many of the gradient's.

    With columns of zeros, taken off again, it is not.
    """
    is_large = gradient.shape[0] >= _MANY_ROWS and weight.numel() >= _LARGE_WEIGHT
    return (
        is_large
        and weight.shape[1] % (_VECTOR // 2) > 0
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
    )


def _is_narrow(x: Tensor, gradient: Tensor) -> bool:
    """Whether x [B, I] is so much narrower than the gradient [B, O] that MKL minds: gradient^T x takes up to six times as long.

    x^T gradient does not, but then is I x O numbers to copy, which B must make up for.
    """
    (rows, ins), outs = x.shape, gradient.shape[1]
    is_worth_it = ins < outs and rows >= 8 * ins and rows * ins * outs >= _WORTH_COPYING
    return is_worth_it and x.device.type == "cpu" and x.dtype == torch.float32
