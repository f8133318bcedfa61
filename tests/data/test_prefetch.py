import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from data.reading.prefetch import Prefetched


def prefetch_threads() -> int:
    return sum(thread.name == "shardline-prefetch" for thread in threading.enumerate())


def test_items_come_in_order() -> None:
    assert list(Prefetched(iter(range(100)), depth=2)) == list(range(100))
    assert prefetch_threads() == 0


def test_source_runs_no_further_ahead_than_asked() -> None:
    made = []
    items = Prefetched((made.append(i) for i in count()), depth=2)

    next(items)
    time.sleep(0.3)

    # One was taken, two are ready, one more waits for room.
    assert len(made) == 4
    items.close()


def test_error_of_the_source_surfaces_at_its_place() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk on fire")

    items = Prefetched(source(), depth=2)

    assert next(items) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(items)
    assert list(items) == []
    assert prefetch_threads() == 0


def test_thread_ends_when_the_iterator_is_closed_early() -> None:
    items = Prefetched(count(), depth=2)
    assert (next(items), prefetch_threads()) == (0, 1)

    items.close()

    assert prefetch_threads() == 0
    assert list(items) == []


def test_thread_ends_when_the_iterator_is_forgotten() -> None:
    items = Prefetched(count(), depth=2)
    next(items)

    del items
    gc.collect()

    assert prefetch_threads() == 0


def test_abandoned_iterator_does_not_hold_up_the_exit() -> None:
    code = (
        "from itertools import count; from data.reading.prefetch import Prefetched; "
        "items = Prefetched(count(), 2); print(next(items))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert (result.stdout, result.stderr) == ("0\n", "")
