"""Ids of a given skew from uniform numbers: Zipf's law over a table's rows, and a Pareto tail folded into them."""

from functools import cached_property, lru_cache

import numpy as np

_HEAD = 4096


class Zipf:
    """Ranks 0 .. size - 1, rank r with probability proportional to (r + 1) ** -exponent.

    The first 4,096 ranks are drawn from their exact sums. Behind them a sum of powers and the integral from half a rank before to
    half a rank behind agree to one part in 10 million, so the tail needs no table of its size.
    """

    def __init__(self, size: int, exponent: float) -> None:
        self._size, self._exponent = size, exponent
        self._head = np.cumsum(np.arange(1, min(size, _HEAD) + 1, dtype=np.float64) ** -exponent)

    @cached_property
    def total(self) -> float:
        """Sum of all (r + 1) ** -exponent."""
        return float(self._head[-1]) + self._integral(self._size + 0.5)

    def ranks(self, uniforms: np.ndarray) -> np.ndarray:
        """int64, the shape of `uniforms` (float64 in [0, 1))."""
        sums = uniforms * self.total
        ranks = np.searchsorted(self._head, sums, side="right")
        in_tail = ranks == len(self._head)
        places = self._inverse(sums[in_tail] - self._head[-1])
        ranks[in_tail] = np.clip(np.round(places).astype(np.int64) - 1, len(self._head) - 1, self._size - 1)
        return ranks

    def _integral(self, end: float) -> float:
        """Of x ** -exponent from half a rank behind the head to `end`."""
        start, power = len(self._head) + 0.5, 1 - self._exponent
        return float(np.log(end / start) if power == 0 else (end**power - start**power) / power)

    def _inverse(self, integrals: np.ndarray) -> np.ndarray:
        start, power = len(self._head) + 0.5, 1 - self._exponent
        if power == 0:
            return start * np.exp(integrals)
        return np.maximum(start**power + power * integrals, 0) ** (1 / power)


@lru_cache(maxsize=1024)
def zipf(size: int, exponent: float) -> Zipf:
    """The law for a table, made once."""
    return Zipf(size, exponent)


def pareto_rows(uniforms: np.ndarray, size: int, shape: float) -> np.ndarray:
    """Rows of a table of `size`, int64: a Pareto variate from 0 on (density shape * (1 + x) ** -(shape + 1)), cut to whole
    numbers, modulo the size. The smaller the shape, the heavier the tail, and the more even the ids.
    """
    with np.errstate(over="ignore"):
        variates = (1 - uniforms) ** (-1 / shape) - 1
    return np.fmod(np.floor(np.minimum(variates, 2.0**62)), size).astype(np.int64)
