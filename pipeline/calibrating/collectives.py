"""Micro-benchmarks of the process group: latency and bandwidth of each collective, apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from pipeline.measuring.marks import Marks
from sharding_plans.measuring.measurement import percentile

SIZES = (2**10, 2**13, 2**16, 2**18, 2**20, 2**22, 2**23)
"""Bytes that a rank puts in."""


def time_collectives(
    device: torch.device, sizes: tuple[int, ...] = SIZES, repeats: int = 7
) -> dict[str, dict[str, float]]:
    """By collective: `latency_us` and `gb_per_s`, bytes counted as ideal transfers to other ranks; a collective."""
    return {name: _line(name, device, sizes, repeats) for name in _COLLECTIVES}


def _line(name: str, device: torch.device, sizes: tuple[int, ...], repeats: int) -> dict[str, float]:
    """The straight line through time over bytes, fitted to relative errors: its height at 0, and the inverse of its slope."""
    ms = np.array([_slowest_ms(_COLLECTIVES[name](size, device), device, repeats) for size in sizes])
    others = (dist.get_world_size() - 1) / dist.get_world_size()
    moved = np.array(sizes) * others * (2 if name == "all_reduce" else 1)
    rows = np.stack([np.ones(len(sizes)), moved / moved[-1]], axis=1) / ms[:, None]
    (start, slope), *_ = np.linalg.lstsq(rows, np.ones(len(sizes)))
    gb_per_s = moved[-1] / max(slope, 1e-9) / 1e6
    return {"latency_us": round(1000 * max(float(start), 0.0), 1), "gb_per_s": round(float(gb_per_s), 3)}


def _slowest_ms(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    marks, found = Marks(device), []
    for _ in range(repeats + 2):
        dist.barrier()
        marks.start()
        call()
        marks.end("call")
        found.append(marks.read()["call"])
    mine = torch.tensor(found[2:], dtype=torch.float64)
    dist.all_reduce(mine, dist.ReduceOp.MAX)
    return percentile(mine.tolist(), 50)


def _all_to_all(size: int, device: torch.device) -> Callable[[], Any]:
    source, target = _pair(size, size, device)
    return lambda: dist.all_to_all_single(target, source)


def _reduce_scatter(size: int, device: torch.device) -> Callable[[], Any]:
    source, target = _pair(size, size // dist.get_world_size(), device)
    return lambda: dist.reduce_scatter_single(target, source)


def _all_gather(size: int, device: torch.device) -> Callable[[], Any]:
    source, target = _pair(size // dist.get_world_size(), size, device)
    return lambda: dist.all_gather_single(target, source)


def _all_reduce(size: int, device: torch.device) -> Callable[[], Any]:
    source, _ = _pair(size, size, device)
    return lambda: dist.all_reduce(source)


_COLLECTIVES: dict[str, Callable[[int, torch.device], Callable[[], Any]]] = {
    "all_to_all": _all_to_all,
    "reduce_scatter": _reduce_scatter,
    "all_gather": _all_gather,
    "all_reduce": _all_reduce,
}


def _pair(sent: int, received: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(sent // 4, device=device), torch.zeros(received // 4, device=device)
