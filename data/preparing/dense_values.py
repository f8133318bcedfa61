"""Numbers of a feature, as the spec transforms them.

Legend: n rows of a block.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from data.preparing.exact_sums import ColumnSums
from data.raw.spec_rows import Numbers
from data.spec.feature_spec import DenseSpec, Transform

_NUM_LOGARITHMS = 1 << 14


@dataclass(frozen=True)
class Moments:
    """Mean and deviation by which a feature is standardised."""

    mean: float
    std: float


def dense_values(spec: DenseSpec, numbers: Numbers, moments: Moments | None) -> np.ndarray:
    """float32 [n]: the numbers after the spec's transforms; 0 where one is missing and has no default."""
    values = unstandardised(spec, numbers)
    if moments is not None:
        scale = np.float32(1 / moments.std) if moments.std > 0 else np.float32(0)
        values = (values - np.float32(moments.mean)) * scale
    if spec.default is None and numbers.missing.any():
        values = np.where(numbers.missing, np.float32(0), values)
    return values


def unstandardised(spec: DenseSpec, numbers: Numbers) -> np.ndarray:
    """float32 [n]: the numbers after all transforms but standardise, which needs to know them all first."""
    values = numbers.values
    if spec.default is not None and numbers.missing.any():
        values = np.where(numbers.missing, np.float32(spec.default), values)
    for transform in spec.transforms:
        values = _transformed(transform, values)
    return values


def moment_sums(spec: DenseSpec, numbers: Numbers, is_train: np.ndarray) -> ColumnSums:
    """What a block adds to the moments of a feature: its train rows, those without a number left out."""
    is_summed = None if spec.default is not None else ~numbers.missing
    return ColumnSums.of(unstandardised(spec, numbers), numbers.missing, is_train, is_summed)


def _transformed(transform: Transform, values: np.ndarray) -> np.ndarray:
    if transform.kind == "log":
        return _logarithms(values)
    if transform.kind == "clip":
        return np.clip(values, _bound(transform.low), _bound(transform.high))
    return values


def _logarithms(values: np.ndarray) -> np.ndarray:
    """log(1 + max(x, 0)), float32 [n]; of whole numbers, as counts are, it is looked up."""
    values = np.maximum(values, np.float32(0))
    places = np.minimum(values, np.float32(_NUM_LOGARITHMS - 1)).astype(np.intp)
    found = _logarithms_of_whole().take(places, mode="clip")
    is_other = places.astype(np.float32) != values
    if is_other.any():
        found[is_other] = np.log1p(values[is_other])
    return found


@cache
def _logarithms_of_whole() -> np.ndarray:
    return np.log1p(np.arange(_NUM_LOGARITHMS, dtype=np.float32))


def _bound(bound: float | None) -> np.float32 | None:
    return None if bound is None else np.float32(bound)
