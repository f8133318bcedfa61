"""Arrays on memory pages of their own, which go back to the system when the array goes."""

from math import prod
from mmap import mmap

import numpy as np
from numpy.typing import DTypeLike, NDArray


def paged_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """An array of zeros; pages that are never written take no memory.

    For large arrays that live for many steps. From the heap they would be cut out between what every step takes and returns,
    and the holes that they leave are seldom filled: over a long run the process grows by much more than it holds.
    """
    count = prod(shape)
    pages = mmap(-1, max(count * np.dtype(dtype).itemsize, 1))
    return np.frombuffer(pages, dtype, count).reshape(shape)
