"""How long the CPU's threads look out for more work before they sleep."""

import os

_LOOKS = "10000"


def let_idle_threads_sleep() -> None:
    """Make the threads of libgomp, which torch computes with, give up their core after a fifth of a millisecond without work.

    By default each looks out for milliseconds, and keeps its core from all that is not libgomp's: the threads that share the
    update of tables, and those that read and decode batches. Between two operations of a step it waits for much less.

    libgomp reads the variable when it is loaded, so this comes before `import torch`. What is set already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _LOOKS)
