"""The short way into autograd gives what torch's own way gives, and knows when not to be taken."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.own_gradients import OwnGradient, differentiable_once


class Square(OwnGradient):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return 2 * x * gradients[0]


def test_values_and_gradients_are_there() -> None:
    x = torch.tensor([3.0, -1.0], requires_grad=True)
    y = Square.apply(x)
    y.sum().backward()
    assert y.tolist() == [9.0, 1.0]
    assert x.grad is not None
    assert x.grad.tolist() == [6.0, -2.0]


def test_a_functional_transform_is_refused_as_torch_refuses_it() -> None:
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda x: Square.apply(x).sum())(torch.ones(2))


def test_a_gradient_of_the_gradient_is_refused_and_not_wrong() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(Square.apply(x).square(), x, create_graph=True)
    assert gradient.item() == 4 * 3.0**3
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.backward()
