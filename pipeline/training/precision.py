"""Whether fewer bits make training faster here: not on every processor."""

import logging
import time

import torch

logger = logging.getLogger(__name__)
_WIDTH, _TIMES = 256, 4


def warn_where_bf16_is_slower(device: torch.device) -> None:
    """Say so where this processor computes a small matrix product faster in float32 than in bfloat16.

    Processors without instructions for bfloat16 (before AVX512-BF16 and AMX) take it apart in software, 100 times slower.
    """
    if device.type != "cpu":
        return
    slower = bf16_over_fp32()
    if slower > 1:
        logger.warning(
            "training.precision is bf16, but on this processor a matrix product takes %.0f times as long as in float32; "
            "training.precision=fp32 is faster here.",
            slower,
        )


def bf16_over_fp32() -> float:
    """How many times as long a small matrix product takes on this processor in bfloat16 as in float32."""
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """The shortest time of a few products."""
    left = torch.ones(_WIDTH, _WIDTH, dtype=dtype)
    times = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        torch.mm(left, left)
        times.append(time.perf_counter() - started)
    return min(times)
