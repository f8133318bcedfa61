"""TorchRec without the warnings that its user can do nothing about."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_torchrec() -> Iterator[None]:
    """Silence TorchRec's and torch's warnings while planning and sharding; errors still come as exceptions.

    TorchRec logs "Sharding spec not found" on the root logger for every data-parallel table, which also installs a default
    handler there; it repeats each reason for a failed plan that its exception already gives; and DistributedDataParallel
    warns of a renamed argument that TorchRec passes.
    """
    root, library, handler = logging.getLogger(), logging.getLogger("torchrec"), logging.NullHandler()
    level = library.level
    root.addHandler(handler)
    root.addFilter(_is_not_planner_noise)
    library.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        library.setLevel(level)
        root.removeFilter(_is_not_planner_noise)
        root.removeHandler(handler)


def _is_not_planner_noise(record: logging.LogRecord) -> bool:
    return record.module != "planners"
