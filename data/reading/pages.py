"""Arrays on memory pages of their own, which go back to the system when the array goes."""

import mmap
from contextlib import suppress
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

_HUGE_PAGE_BYTES = 1 << 21


def paged_array(shape: tuple[int, ...], dtype: DTypeLike, *, is_filled: bool = False) -> NDArray:
    """An array of zeros; pages that are never written take no memory.

    `is_filled`: all of it will be written at once. It is then asked for in pages of 2 MiB, where there are such: to be handed
    page after page of 4 KiB costs a fifth of the time of reading.

    For large arrays that live for many steps. From the heap they would be cut out between what every step takes and returns,
    and the holes that they leave are seldom filled: over a long run the process grows by much more than it holds.
    """
    count = prod(shape)
    num_bytes = max(count * np.dtype(dtype).itemsize, 1)
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if is_filled and num_bytes >= _HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them: small pages do as well
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype, count).reshape(shape)
