"""Functions of autograd with gradients by hand, called with as little around them as there can be: small steps are made of calls.

torch looks into every argument for what its functional transforms (vmap, grad) may have left there, and switches gradients off
for a backward pass in which they are off. Together some 10 microseconds of Python for each function and step.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_is_transformed: Callable[[], bool] = torch._C._are_functorch_transforms_active
"""Whether a functional transform is at work: private to torch, so a test holds it to `torch.func.grad`."""


class OwnGradient(torch.autograd.Function):
    """A function whose `apply` goes the short way, but where a functional transform is at work: there torch refuses it."""

    @classmethod
    def apply(cls, *args: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if _is_transformed():
            return super().apply(*args)
        return super(torch.autograd.Function, cls).apply(*args)  # pyright: ignore[reportAttributeAccessIssue]


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """`once_differentiable`, and nothing around the backward pass where nobody asks for gradients of its gradients."""
    guarded = once_differentiable(backward)

    @wraps(backward)
    def lean(ctx: Any, *gradients: Any) -> Any:
        return guarded(ctx, *gradients) if torch.is_grad_enabled() else backward(ctx, *gradients)

    return lean
