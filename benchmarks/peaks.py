"""What this machine can do at all: its fastest matrix products, and its memory's bandwidth."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from models.layer_products import input_gradient, parameter_gradients
from pipeline.measuring.marks import Marks

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = (256, 512, 1024, 2048, 4096)
LONGEST_PRODUCT_S = 2.0


@dataclass(frozen=True)
class Peak:
    """A call that reaches a machine's peak, and its work: floating-point operations or bytes."""

    call: Callable[[], Any]
    work: float
    device: torch.device

    def rate(self, seconds: float = 0.5) -> float:
        """1e9 operations or bytes a second in the shortest of the calls that fit in the time (four at least, one to warm up).

        The shortest, for a peak is what a machine does undisturbed.
        """
        return self.work / _best_ms(self.call, self.device, seconds) / 1e6


def machine_peaks(device: torch.device, sizes: tuple[int, ...] = SIZES) -> dict[str, Peak]:
    """The best square matrix product in each precision, GFLOP/s, and a copy, GB/s (bytes read and written)."""
    peaks = {f"gemm_{name}_gflop_per_s": _best_product(sizes, dtype, device) for name, dtype in DTYPES.items()}
    return {**peaks, "copy_gb_per_s": _copy(device)}


def _best_product(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Peak:
    """The best of the sizes, as far up as the slowest way of multiplying takes no more than LONGEST_PRODUCT_S."""
    found, slowest_ms = [], 0.0
    for before, size in zip((sizes[0], *sizes), sizes, strict=False):
        if slowest_ms * (size / before) ** 3 > 1000 * LONGEST_PRODUCT_S:
            break  # a processor without instructions for this type
        rated = [(peak.rate(), peak) for peak in _products(size, dtype, device)]
        slowest_ms = 2 * size**3 / min(rate for rate, _ in rated) / 1e6
        found += rated
    return max(found, key=lambda pair: pair[0])[1]


def _products(size: int, dtype: torch.dtype, device: torch.device) -> list[Peak]:
    """The three layouts that a layer uses forward and backward, and what layers use in place of `mm`."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=dtype)
    pairs = ((left, right), (left, right.t()), (left.t(), right))
    ways: list[Callable[[], Any]] = [partial(torch.mm, *pair, out=out) for pair in pairs]
    ways += [partial(input_gradient, left, right), partial(parameter_gradients, left, right, left, has_bias=False)]
    return [Peak(way, 2.0 * size**3, device) for way in ways]


def _copy(device: torch.device) -> Peak:
    """Of two arrays of 256 MiB each, which no cache holds."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return Peak(lambda: target.copy_(source), 2.0 * source.numel() * 4, device)


def _best_ms(call: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """The shortest of the calls that fit in the time, in ms; three at least, behind one that does not count."""
    marks, best, began = Marks(device), float("inf"), time.perf_counter()
    call()
    for repeat in range(1000):
        marks.start()
        call()
        marks.end("call")
        best = min(best, marks.read()["call"])
        if repeat >= 2 and time.perf_counter() - began > seconds:
            break
    return best
