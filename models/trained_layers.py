"""A stack of linear layers with ReLU between them as one step of autograd: no node, and no copy, for each of its operations.

Legend: B batch rows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd.function import once_differentiable
from torch.nn import functional

fx.wrap("trained_layers")  # train pipelines trace the ranker, and take it as one step


def trained_layers(x: Tensor, parameters: Sequence[Tensor], is_output: bool) -> Tensor:
    """What the layers give for x, float32 [B, in_features]; `parameters` are weight and bias of each, `is_output`: no last ReLU.

    In autocast, which chooses types by the operation, the operations are left to autograd.
    """
    if torch.is_autocast_enabled(x.device.type):
        return _one_by_one(x, parameters, is_output)
    return Layers.apply(x, is_output, *parameters)  # pyright: ignore[reportReturnType]


class Layers(torch.autograd.Function):
    """The layers' values and gradients, to the bit those of autograd; ReLU is applied, and undone, in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_output: bool, *parameters: Tensor) -> Tensor:
        inputs, last = [], len(parameters) - 2
        for at in range(0, len(parameters), 2):
            inputs.append(x)
            x = torch.addmm(parameters[at + 1], x, parameters[at].t())
            if at < last or not is_output:
                x = x.relu_()
        ctx.is_output = is_output
        ctx.save_for_backward(x, *inputs, *parameters[::2])
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        output, *kept = ctx.saved_tensors
        inputs, weights = kept[: len(kept) // 2], kept[len(kept) // 2 :]
        of_parameters: list[Tensor] = []
        if not ctx.is_output:
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        for at in range(len(weights) - 1, -1, -1):
            of_parameters[:0] = [gradient.t().mm(inputs[at]), gradient.sum(0)]
            if at == 0 and not ctx.needs_input_grad[0]:
                return None, None, *of_parameters
            gradient = gradient.mm(weights[at])
            if at:  # the input is what the layer before gave, behind its ReLU
                gradient = torch.ops.aten.threshold_backward(gradient, inputs[at], 0)
        return gradient, None, *of_parameters


def _one_by_one(x: Tensor, parameters: Sequence[Tensor], is_output: bool) -> Tensor:
    last = len(parameters) - 2
    for at in range(0, len(parameters), 2):
        x = functional.linear(x, parameters[at], parameters[at + 1])
        if at < last or not is_output:
            x = functional.relu(x)
    return x
