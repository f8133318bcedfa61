"""Work done ahead of its consumer, in a background thread that ends with it."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
DEFAULT_PREFETCH = 2
_POLL_SECONDS = 0.1
_JOIN_SECONDS = 30.0


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


class Prefetched(Generic[T]):
    """The items of `source`, in order, with up to `depth` of them ready before they are asked for.

    `source` runs in a thread of its own. What it raises is raised here, at the place of the item it was making. The thread
    ends with the source, with `close`, when this object is no longer referenced, and at the exit of the interpreter. Items that
    nobody asked for by then are handed to `discard`.
    """

    def __init__(self, source: Iterator[T], depth: int, discard: Callable[[T], None] = lambda item: None) -> None:
        self._items: queue.Queue = queue.Queue(maxsize=depth)
        stop = threading.Event()
        # A daemon, so that an abandoned iterator cannot hold up the exit; the finalizer still ends it in good order.
        thread = threading.Thread(target=_run, args=(source, self._items, stop), name="shardline-prefetch", daemon=True)
        self._end_thread = weakref.finalize(self, _end_thread, thread, self._items, stop, discard)
        thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item: Any = self._items.get() if self._end_thread.alive else _END
        if item is _END:
            self.close()
            raise StopIteration
        if isinstance(item, _Failure):
            self.close()
            raise item.error
        return item

    def close(self) -> None:
        """End the thread and drop what it has ready. Harmless when repeated."""
        self._end_thread()


def _run(source: Iterator, items: queue.Queue, stop: threading.Event) -> None:
    # Knows nothing of the Prefetched object: a reference from here would keep it, and so this thread, alive for good.
    try:
        for item in source:
            if not _put(item, items, stop):
                return
        _put(_END, items, stop)
    except BaseException as error:
        _put(_Failure(error), items, stop)


def _put(item: object, items: queue.Queue, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            items.put(item, timeout=_POLL_SECONDS)
            return True
        except queue.Full:
            continue
    return False


def _end_thread(thread: threading.Thread, items: queue.Queue, stop: threading.Event, discard: Callable) -> None:
    stop.set()
    while not items.empty():
        item = items.get_nowait()
        if item is not _END and not isinstance(item, _Failure):
            discard(item)
    if thread is not threading.current_thread():
        thread.join(_JOIN_SECONDS)
