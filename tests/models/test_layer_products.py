"""Products of layers: whichever library computes them, they are those of exact arithmetic up to the rounding of their type."""

import pytest
import torch
from torch import Tensor

from models import layer_products
from models.layer_products import (
    add_parameter_gradients,
    input_gradient,
    is_small_product,
    layer_output,
    parameter_gradients,
)
from models.mlp import MLP

SHAPES = [(64, 48, 80), (64, 80, 48), (33, 13, 512), (128, 13, 512), (50, 415, 32), (33, 415, 400)]


@pytest.fixture(params=["torch's choice", "oneDNN"])
def library(request: pytest.FixtureRequest, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way of computing, forward and backward, also where the processor or the size would not have it."""
    monkeypatch.setattr(layer_products, "_MKL_HAS_AVX512", request.param != "oneDNN")
    if request.param == "oneDNN" and dtype == torch.bfloat16 and not layer_products._HAS_AVX512:
        pytest.skip("oneDNN multiplies no bfloat16 on this processor")
    monkeypatch.setattr(layer_products, "_is_faster", lambda *_: request.param == "oneDNN")


def numbers(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "ins", "outs"), SHAPES)
def test_products_are_exact_up_to_rounding(rows: int, ins: int, outs: int, dtype: torch.dtype) -> None:
    x, weight, bias = (numbers(*shape, dtype=dtype) for shape in ((rows, ins), (outs, ins), (outs,)))
    gradient = numbers(rows, outs, dtype=dtype)
    exact = x.double() @ weight.double().t() + bias.double()

    _assert_close(layer_output(x, weight, bias, with_relu=False), exact)
    _assert_close(layer_output(x, weight, bias, with_relu=True), exact.relu())
    _assert_close(input_gradient(gradient, weight), gradient.double() @ weight.double())
    of_weight, of_bias = parameter_gradients(gradient, x, weight, has_bias=True)
    _assert_close(of_weight, gradient.double().t() @ x.double())
    assert of_bias is not None
    _assert_close(of_bias, gradient.double().sum(0))
    assert parameter_gradients(gradient, x, weight, has_bias=False)[1] is None


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(("rows", "ins", "outs"), SHAPES)
def test_gradients_are_added_in_place(rows: int, ins: int, outs: int, has_bias: bool) -> None:
    x, weight, bias, gradient = (
        numbers(*shape, dtype=torch.float32) for shape in ((rows, ins), (outs, ins), (outs,), (rows, outs))
    )
    of_weight, of_bias = gradient.double().t() @ x.double(), gradient.double().sum(0)
    expected = weight.double() - 0.25 * of_weight, bias.double() - 0.25 * of_bias if has_bias else bias.double()

    add_parameter_gradients(weight, bias if has_bias else None, gradient, x, -0.25)

    _assert_close(weight, expected[0])
    _assert_close(bias, expected[1])


def test_large_products_and_other_types_get_gradients_of_their_own() -> None:
    weight = torch.zeros(512, 512)

    assert is_small_product(torch.zeros(127, 512), weight)
    assert not is_small_product(torch.zeros(128, 512), weight)
    assert not is_small_product(torch.zeros(2, 512).bfloat16(), weight)
    assert not is_small_product(torch.zeros(2, 512), weight.double())


def _assert_close(found: Tensor, exact: Tensor) -> None:
    """float32 rounds each of up to 512 sums, bfloat16 the last and what is added to it: so many units of the largest value."""
    units = 16 if found.dtype == torch.float32 else 4
    assert (found.double() - exact).abs().max() < units * torch.finfo(found.dtype).eps * exact.abs().max()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float32])
@pytest.mark.parametrize("is_output", [True, False])
def test_scoring_by_products_of_layers_gives_what_the_layers_give(is_output: bool) -> None:
    mlp = MLP(13, (48, 32, 5), dropout=0.5, is_output=is_output, generator=torch.Generator().manual_seed(4)).eval()
    x = numbers(64, 13, dtype=torch.float32)
    by_layers = mlp(x)  # where gradients are wanted, torch's own modules compute

    with torch.no_grad():
        torch.testing.assert_close(mlp(x), by_layers)


def test_small_products_and_other_processors_keep_torchs_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.zeros(1024, 64)

    monkeypatch.setattr(layer_products, "_HAS_AVX512", True)
    assert layer_products._is_faster(rows, 64 * 512)
    assert not layer_products._is_faster(rows[:16], 64 * 512)
    assert not layer_products._is_faster(rows.double(), 64 * 512)
    monkeypatch.setattr(layer_products, "_MKL_HAS_AVX512", False)
    assert layer_products._is_faster_backward(rows, 64 * 512)
    assert not layer_products._is_faster_backward(rows.bfloat16(), 64 * 512)
    monkeypatch.setattr(layer_products, "_MKL_HAS_AVX512", True)
    assert not layer_products._is_faster_backward(rows, 64 * 512)
    monkeypatch.setattr(layer_products, "_HAS_AVX512", False)
    assert not layer_products._is_faster(rows, 64 * 512)


@pytest.mark.parametrize(
    ("rows", "ins", "outs", "is_narrow"), [(128, 13, 512, True), (64, 13, 512, False), (128, 3, 4, False)]
)
def test_gradients_of_narrow_layers_are_taken_transposed(rows: int, ins: int, outs: int, is_narrow: bool) -> None:
    x, gradient = numbers(rows, ins, dtype=torch.float32), numbers(rows, outs, dtype=torch.float32)

    assert layer_products._is_narrow(x, gradient) == is_narrow
    of_weight, _ = parameter_gradients(gradient, x, numbers(outs, ins, dtype=torch.float32), has_bias=False)
    assert of_weight.is_contiguous()
