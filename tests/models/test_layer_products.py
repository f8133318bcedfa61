"""Products of layers: whichever library computes them, they are those of exact arithmetic up to the rounding of their type."""

import pytest
import torch
from torch import Tensor

from models import layer_products
from models.layer_products import input_gradient, layer_output, weight_gradient

SHAPES = [(64, 48, 80), (64, 80, 48), (33, 13, 512), (50, 415, 32)]


@pytest.fixture(params=["torch's choice", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way of computing, also where the processor or the size would not have it."""
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
    _assert_close(weight_gradient(gradient, x), gradient.double().t() @ x.double())


def _assert_close(found: Tensor, exact: Tensor) -> None:
    """Each sum has up to 512 terms of about 1: its rounding is that of a number of about 20, and a few times more for float32's
    intermediate sums."""
    unit = torch.finfo(found.dtype).eps
    assert found.is_contiguous() or found.stride(0) > found.shape[1]
    assert (found.double() - exact).abs().max() < 32 * unit * exact.abs().max().clamp(min=1).sqrt() * 4


def test_small_products_and_other_processors_keep_torchs_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.zeros(1024, 64)

    monkeypatch.setattr(layer_products, "_HAS_AVX512", True)
    assert layer_products._is_faster(rows, 64 * 512)
    assert not layer_products._is_faster(rows[:16], 64 * 512)
    assert not layer_products._is_faster(rows.double(), 64 * 512)
    monkeypatch.setattr(layer_products, "_HAS_AVX512", False)
    assert not layer_products._is_faster(rows, 64 * 512)
