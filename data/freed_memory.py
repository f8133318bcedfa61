"""Memory that was freed, and that the C library keeps for the next allocation."""

import contextlib
import ctypes


def give_back_freed_memory() -> None:
    """Return it to the system: for when other work follows, or what is free has fallen into pieces that nothing fits in."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
