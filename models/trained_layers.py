"""A stack of linear layers with ReLU between them as one step of autograd: no node, and no copy, for each of its operations.

Legend: B batch rows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from models.layer_products import (
    add_parameter_gradients,
    input_gradient,
    is_small_product,
    layer_output,
    parameter_gradients,
)
from models.own_gradients import OwnGradient, differentiable_once
from models.sgd_in_backward import sgd_of

fx.wrap("trained_layers")  # train pipelines trace the ranker, and take it as one step

_through_relu: Any = torch.ops.aten.threshold_backward.default
_into_relu: Any = torch.ops.aten.threshold_backward.grad_input
"""The gradient where ReLU's output is above 0, and 0 elsewhere: a new one, and in place."""


def trained_layers(x: Tensor, parameters: Sequence[Tensor | None], is_output: bool) -> Tensor:
    """What the layers give for x, [B, in_features]; `parameters` are weight and bias (or None) of each,
    `is_output`: no last ReLU.

    float32, or in autocast its type: as with autograd there, x and parameters are cast before the first product, and their
    gradients back to their own types behind the last. Where plain SGD updates them inside the backward pass
    (`models.sgd_in_backward`), parameters get no gradients.
    """
    return Layers.apply(x, is_output, autocast_type(x), *parameters)


def autocast_type(x: Tensor) -> torch.dtype | None:
    """The type of matrix products in autocast on the device of x; None outside."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


class Layers(OwnGradient):
    """The layers' values and gradients, those of autograd's own operations; no node, and no copy, for each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_output: bool, dtype: torch.dtype | None, *parameters: Any) -> Tensor:
        ctx.types, ctx.sgd, ctx.parameters = None, sgd_of(parameters[0]), parameters
        if ctx.sgd is not None:
            ctx.sgd.count_use(parameters)
        if dtype is not None:
            ctx.types = [None if each is None else each.dtype for each in (x, *parameters)]
            x, parameters = x.to(dtype), tuple(each if each is None else each.to(dtype) for each in parameters)
        inputs, last = [], len(parameters) - 2
        for at in range(0, len(parameters), 2):
            inputs.append(x)
            x = layer_output(x, parameters[at], parameters[at + 1], with_relu=at < last or not is_output)
        ctx.is_output, ctx.have_bias = is_output, [each is not None for each in parameters[1::2]]
        ctx.save_for_backward(x, *inputs, *parameters[::2])
        return x

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (of_input,) = gradients
        output, *kept = ctx.saved_tensors
        inputs, weights = kept[: len(kept) // 2], kept[len(kept) // 2 :]
        if not ctx.is_output:
            of_input = _through_relu(_bits(of_input), _bits(output), 0).view(of_input.dtype)
        factor, of_parameters = _factor_of_sgd(ctx, inputs), []
        for at in range(len(weights) - 1, -1, -1):
            gradient, x, weight = of_input, inputs[at], weights[at]
            if factor is None:
                of_parameters[:0] = parameter_gradients(gradient, x, weight, ctx.have_bias[at])
            if at or ctx.needs_input_grad[0]:
                of_input = input_gradient(gradient, weight)
            if at:  # x is what the layer before gave, behind its ReLU
                _into_relu(_bits(of_input), _bits(x), 0, grad_input=_bits(of_input))
            if factor is not None:  # only now, for the products before are those of the weights as they were
                add_parameter_gradients(ctx.parameters[2 * at], ctx.parameters[2 * at + 1], gradient, x, factor)
        found = [of_input if ctx.needs_input_grad[0] else None, *(of_parameters or [None] * len(ctx.parameters))]
        if ctx.types is not None:
            found = [each if each is None else each.to(dtype) for each, dtype in zip(found, ctx.types, strict=True)]
        return found[0], None, None, *found[1:]


def _factor_of_sgd(ctx: Any, inputs: list[Tensor]) -> float | None:
    """What gradients are multiplied by where plain SGD adds them to the parameters here; None where it does not.

    Only if all products are small: a gradient of its own is no matter beside large ones.
    """
    sgd, parameters = ctx.sgd, ctx.parameters
    if sgd is None or not all(map(is_small_product, inputs, parameters[::2])) or not sgd.updates(parameters):
        return None
    return -sgd.rate()


def _bits(values: Tensor) -> Tensor:
    """bfloat16 as the whole numbers with its bits, which are above 0 where it is, and which the CPU compares without widening.

    (But for a NaN with a negative sign: its gradient is 0 then, where the loss is NaN in any case.)
    """
    return values.view(torch.int16) if values.dtype == torch.bfloat16 and values.device.type == "cpu" else values
