"""SGD inside the backward pass: the weights go where torch's SGD takes them, whatever a step does with them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.mlp import MLP
from models.sgd_in_backward import SgdInBackward

ROWS, RATE, NUM_STEPS = 64, 0.1, 3
Forward = Callable[[MLP, Tensor], Tensor]


def mlp(widths: tuple[int, ...], *, is_output: bool = True) -> MLP:
    return MLP(6, widths, is_output=is_output, generator=torch.Generator().manual_seed(7))


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(ROWS, 6, generator=generator) for _ in range(NUM_STEPS)]


def updated_in_backward(model: MLP, forward: Forward) -> list[bool]:
    """Train the model so; for each step whether nothing was left to the optimizer, which updates what is."""
    optimizer, sgd = torch.optim.SGD(model.parameters(), lr=RATE), SgdInBackward(model.parameters(), lambda: RATE)
    found = []
    for x in batches():
        optimizer.zero_grad()
        sgd.begin_step()
        forward(model, x).square().mean().backward()
        found.append(all(weight.grad is None for weight in model.parameters()))
        optimizer.step()
    return found


def assert_trained_as_by_torch(model: MLP, twin: MLP, forward: Forward) -> None:
    """Float32 rounds sums and updates, here and there in another order."""
    optimizer = torch.optim.SGD(twin.parameters(), lr=RATE)
    before = [weight.detach().clone() for weight in twin.parameters()]
    for x in batches():
        optimizer.zero_grad()
        forward(twin, x).square().mean().backward()
        optimizer.step()
    for ours, theirs, first in zip(model.parameters(), twin.parameters(), before, strict=True):
        assert not torch.equal(theirs, first)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("is_output", [True, False])
def test_weights_go_where_sgd_takes_them_and_get_no_gradients(is_output: bool) -> None:
    model, twin = mlp((32, 16, 5), is_output=is_output), mlp((32, 16, 5), is_output=is_output)

    assert updated_in_backward(model, MLP.forward) == [True] * NUM_STEPS
    assert_trained_as_by_torch(model, twin, MLP.forward)


def test_the_gradient_of_what_came_in_is_that_of_the_weights_before_their_update() -> None:
    model, twin = mlp((32, 5)), mlp((32, 5))
    SgdInBackward(model.parameters(), lambda: RATE)
    found = []
    for each in (model, twin):
        x = batches()[0].requires_grad_()
        each(x).square().mean().backward()
        found.append(x.grad)

    assert torch.equal(*found)


def test_what_a_step_uses_twice_is_left_to_the_optimizer() -> None:
    def twice(model: MLP, x: Tensor) -> Tensor:
        return model(model(x))

    model, twin = mlp((32, 6)), mlp((32, 6))

    assert updated_in_backward(model, twice) == [False] * NUM_STEPS
    assert_trained_as_by_torch(model, twin, twice)


@pytest.mark.parametrize("num_slices", [1, 2])
def test_slices_that_are_computed_again_in_the_backward_pass_are_left_to_the_optimizer(num_slices: int) -> None:
    def in_slices(model: MLP, x: Tensor) -> Tensor:
        return torch.cat([checkpoint(model, rows, use_reentrant=False) for rows in x.chunk(num_slices)])  # pyright: ignore[reportArgumentType]

    model, twin = mlp((32, 6)), mlp((32, 6))

    assert updated_in_backward(model, in_slices) == [False] * NUM_STEPS
    assert_trained_as_by_torch(model, twin, in_slices)


def test_bfloat16_is_left_to_the_optimizer() -> None:
    def in_bfloat16(model: MLP, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x).float()

    model, twin = mlp((32, 5)), mlp((32, 5))

    assert updated_in_backward(model, in_bfloat16) == [False] * NUM_STEPS
    assert_trained_as_by_torch(model, twin, in_bfloat16)


def elsewhere(model: MLP, x: Tensor) -> Tensor:
    """The first layer's product, by autograd."""
    linear = model[0]
    assert isinstance(linear, nn.Linear)
    return nn.functional.linear(x, linear.weight)


def test_gradients_that_come_from_elsewhere_before_the_update_are_added_to_it() -> None:
    def elsewhere_behind(model: MLP, x: Tensor) -> Tensor:
        return elsewhere(model, model(x))

    model, twin = mlp((6,)), mlp((6,))

    assert updated_in_backward(model, elsewhere_behind) == [False] * NUM_STEPS
    assert_trained_as_by_torch(model, twin, elsewhere_behind)


def test_what_computes_elsewhere_with_the_weight_before_its_update_is_not_given_a_wrong_gradient() -> None:
    model = mlp((6,))
    SgdInBackward(model.parameters(), lambda: RATE)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(elsewhere(model, batches()[0].requires_grad_())).square().mean().backward()
