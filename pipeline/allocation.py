"""Memory of a job on the CPU: in large pages, and what a step frees, the next step takes again."""

import contextlib
import ctypes
import os
from pathlib import Path

from data.freed_memory import give_back_freed_memory

_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's mallopt(3) as numbers, from <malloc.h>."""
_NEVER = 2**31 - 1
_CREEP = 1.01
"""How far a process may grow before what it has freed goes back."""


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next allocation; whether it is glibc that allocates.

    By default blocks above 32 MiB (the activations of a large batch) come from the kernel afresh each time, which hands them
    out page by page, zeroed: on a virtual machine that takes longer than to compute what goes into them. The process stays as
    large as its largest step, which it would need again with the next one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))


class HeapWatch:
    """Keeps kept memory from creeping up: over thousands of steps what is free falls into pieces too small for the next one."""

    def __init__(self) -> None:
        self._expected = 0
        self._was_given_back = True

    def look(self, resident_bytes: int) -> None:
        """To be called between steps, every some of them. What they take again after it was given back, the process may keep."""
        if self._was_given_back:
            self._expected = max(self._expected, resident_bytes)
        self._was_given_back = resident_bytes > _CREEP * self._expected
        if self._was_given_back:
            give_back_freed_memory()


def ask_for_large_pages() -> None:
    """Make torch take tensors of 2 MiB and more in pages of 2 MiB, where the kernel gives them to who asks (`madvise`).

    Rows of tables are looked up all over hundreds of megabytes: with pages of 4 KiB the processor looks up an address for each of
    them. torch reads the variable when it allocates its first tensor, so this comes before `import torch`; a value that is set
    already, such as 0, stays.
    """
    with contextlib.suppress(OSError):  # no such file: a kernel without large pages, and torch would warn
        if "[never]" not in _LARGE_PAGES.read_text():
            os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
