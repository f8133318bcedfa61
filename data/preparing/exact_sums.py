"""Sums of float32 numbers, exact: they do not depend on the order of the numbers, nor on how rows were cut into blocks.

A number is its mantissa, a whole number of 24 bits, times a power of two. Mantissas are added up by exponent, in integers.

Legend: n rows of a block.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_EXPONENTS = 256
_BIAS = 150
_LOW_24 = np.int64((1 << 24) - 1)


@dataclass(frozen=True)
class ColumnSums:
    """What one block adds for one column: counts, and sums by exponent, int64 [3, 256]: numbers, halves of squares."""

    num_rows: int
    num_missing: int
    num_summed: int
    by_exponent: np.ndarray

    @classmethod
    def of(
        cls, values: np.ndarray, missing: np.ndarray, is_train: np.ndarray, is_summed: np.ndarray | None = None
    ) -> "ColumnSums":
        """Sums of values float32 [n] over the train rows, or those of them where `is_summed`; masks are bool [n]."""
        summed = values[is_train if is_summed is None else is_train & is_summed]
        num_rows, num_missing = np.count_nonzero(is_train), np.count_nonzero(is_train & missing)
        return cls(int(num_rows), int(num_missing), len(summed), _sums(summed))


class NumberSums:
    """Sums of one column over blocks."""

    def __init__(self) -> None:
        self.num_rows, self.num_missing, self.num_summed = 0, 0, 0
        self._by_exponent = np.zeros((3, _EXPONENTS), dtype=np.int64)

    def add(self, block: ColumnSums) -> None:
        self.num_rows += block.num_rows
        self.num_missing += block.num_missing
        self.num_summed += block.num_summed
        self._by_exponent += block.by_exponent

    @property
    def missing_rate(self) -> float:
        return self.num_missing / max(1, self.num_rows)

    def mean_and_std(self) -> tuple[float, float]:
        """Of the numbers summed; 0 and 0 where there are none. The variance is taken exactly: nothing cancels out."""
        if not self.num_summed:
            return 0.0, 0.0
        numbers, upper, lower = (row.tolist() for row in self._by_exponent)
        total = sum(value << e for e, value in enumerate(numbers))
        squares = sum(((high << 24) + low) << (2 * e) for e, (high, low) in enumerate(zip(upper, lower, strict=True)))
        mean = Fraction(total, self.num_summed << _BIAS)
        variance = Fraction(squares, self.num_summed << (2 * _BIAS)) - mean**2
        return float(mean), float(variance) ** 0.5


def _sums(values: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(values, dtype=np.float32)
    sums = _sums_of_alike(values)
    return _sums_of_any(values) if sums is None else sums


def _sums_of_alike(values: np.ndarray) -> np.ndarray | None:
    """The sums where all numbers are multiples of the unit that the largest leaves room for, as most columns are; else none.

    As multiples of one unit they are whole numbers below 2**31, whose squares are below 2**62: all belong to one exponent.
    """
    sums = np.zeros((3, _EXPONENTS), dtype=np.int64)
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    if largest == 0:
        return sums
    exponent = math.frexp(largest)[1] + _BIAS - 31
    if not (math.isfinite(largest) and 0 < exponent < _EXPONENTS):
        return None
    scaled = values * 2.0 ** (_BIAS - exponent)
    whole = scaled.astype(np.int64)
    if not np.array_equal(whole, scaled):
        return None
    sums[0, exponent] = whole.sum()
    whole *= whole
    sums[1, exponent] = (whole >> 24).sum()
    sums[2, exponent] = (whole & _LOW_24).sum()
    return sums


def _sums_of_any(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.int32)
    exponents = (bits >> 23) & 0xFF
    mantissas = (bits & 0x7FFFFF).astype(np.int64)
    mantissas[exponents > 0] |= 1 << 23
    # The smallest numbers of all have exponent 0 and mean the same power of two as exponent 1.
    exponents = np.maximum(exponents, 1)
    squares = mantissas * mantissas
    weights = np.where(bits < 0, -mantissas, mantissas), squares >> 24, squares & _LOW_24
    # Sums of float64 are exact here: 24 bits each, and fewer than 2**29 numbers in a block.
    return np.stack([np.bincount(exponents, each, minlength=_EXPONENTS).astype(np.int64) for each in weights])
