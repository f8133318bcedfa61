"""Memory of a job on the CPU: what a step frees, the next step takes again."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's mallopt(3) as numbers, from <malloc.h>."""
_NEVER = 2**31 - 1


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
