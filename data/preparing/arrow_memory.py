"""Where Arrow takes memory from while rows are prepared: many threads make tables, and one frees them all."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

_KEPT_MS = 10
"""Milliseconds that freed memory is kept for the next table: shorter takes longer, longer takes more memory."""


@contextmanager
def memory_that_goes_back() -> Iterator[None]:
    """From jemalloc inside, where pyarrow was built with it: what it frees goes back to the system by itself, and soon.

    Arrow's usual allocator keeps what one thread allocated and another freed until it is told to let go, after every row group;
    its peaks are higher, and scatter more.
    """
    usual = pa.default_memory_pool()
    try:
        pool = pa.jemalloc_memory_pool()
    except NotImplementedError:
        yield
        return
    pa.jemalloc_set_decay_ms(_KEPT_MS)
    pa.set_memory_pool(pool)
    try:
        yield
    finally:
        pa.set_memory_pool(usual)
