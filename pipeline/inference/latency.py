"""How long a model takes for batches of several sizes, measured in turn with others so that all meet the same machine."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from data.reading.flat_rows import at_least_two, flat_rows
from pipeline.inference.scoring import Scorer

_WARM_UP_CALLS = 3
_FEWEST_CALLS = 5


@dataclass(frozen=True)
class Latency:
    """Calls on batches of one size. Milliseconds per call: percentiles over all calls; rows/s: by round."""

    batch_size: int
    num_calls: int
    p50_ms: float
    p99_ms: float
    rows_per_s: tuple[float, ...]

    @property
    def median_rows_per_s(self) -> float:
        return float(np.median(self.rows_per_s))


def measure(
    scorers: Mapping[str, Scorer], rows: pa.Table, batch_sizes: Sequence[int], rounds: int, seconds: float
) -> dict[str, list[Latency]]:
    """The latencies of each model, by batch size: from flat tensors to probabilities, transforms left out.

    `rows` are repeated where a batch is larger.
    """
    found: dict[str, list[Latency]] = {name: [] for name in scorers}
    for size in batch_sizes:
        table = pa.concat_tables([rows] * -(-size // rows.num_rows)).slice(0, size)
        calls: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
        for _ in range(rounds):
            for name, scorer in scorers.items():
                calls[name].append(_timed(scorer, table, seconds))
        for name, timed in calls.items():
            found[name].append(_latency(size, timed))
    return found


def _timed(scorer: Scorer, table: pa.Table, seconds: float) -> np.ndarray:
    """Seconds of each call, float64."""
    inputs = at_least_two(flat_rows(table, scorer.schema)).inputs
    taken: list[float] = []
    with torch.no_grad():
        for _ in range(_WARM_UP_CALLS):
            scorer.program(*inputs)
        end = time.perf_counter() + seconds
        while len(taken) < _FEWEST_CALLS or time.perf_counter() < end:
            begun = time.perf_counter()
            scorer.program(*inputs)
            taken.append(time.perf_counter() - begun)
    return np.array(taken)


def _latency(size: int, rounds: Sequence[np.ndarray]) -> Latency:
    every = np.concatenate(rounds) * 1e3
    rows_per_s = tuple(float(size * len(taken) / taken.sum()) for taken in rounds)
    return Latency(size, len(every), float(np.percentile(every, 50)), float(np.percentile(every, 99)), rows_per_s)
