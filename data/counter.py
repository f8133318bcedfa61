"""Random numbers by address: the value at (key, index) is computed directly, so no state is carried and none is saved.

The finaliser is SplitMix64's (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014). It is written
out here, and not taken from numpy.random, because an order of rows that a checkpoint relies on must not change with numpy.
"""

import numpy as np

_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1


def derive_key(*parts: int) -> int:
    """A key in [0, 2**64) that depends on every part and on their order, such as (seed, epoch, lane)."""
    key = 0
    for part in parts:
        key = _mix_int(key ^ _mix_int((part + 1) * _STEP & _MASK))
    return key


def derive_keys(key: int, parts: np.ndarray) -> np.ndarray:
    """`derive_key(..., part)` for every part at once, where `key` is derived from what stands before; uint64."""
    mixed = mix((parts.astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP))
    return mix(mixed ^ np.uint64(key))


def counters(indices: np.ndarray) -> np.ndarray:
    """What `mix(counters + key)` needs of the indices; uint64. Compute it once where many keys share the indices."""
    return (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP)


def mix(values: np.ndarray, scratch: np.ndarray | None = None) -> np.ndarray:
    """`values` (uint64), overwritten with 64 evenly distributed bits each. `scratch`: of the same shape, saves an allocation."""
    scratch = np.empty_like(values) if scratch is None else scratch
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        np.right_shift(values, np.uint64(shift), out=scratch)
        np.bitwise_xor(values, scratch, out=values)
        np.multiply(values, np.uint64(factor), out=values)
    np.right_shift(values, np.uint64(31), out=scratch)
    return np.bitwise_xor(values, scratch, out=values)


def _mix_int(value: int) -> int:
    value = (value ^ value >> 30) * _FIRST & _MASK
    value = (value ^ value >> 27) * _SECOND & _MASK
    return value ^ value >> 31
