"""A function over a stream on several threads, results in the stream's order, few of them in memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock, Semaphore
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Results that may wait beyond one a thread, for few threads: each holds a block's rows, and more of them made nothing faster.
_FEWEST_SPARE = 1


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> Iterator[Result]:
    """`function(item)` for each item, in order. Few more results than threads are held, whatever the stream's length.

    A thread takes its item out of the stream when it is free to work on it, so the stream is read on these threads, by one at a
    time, and no item waits. What reading or the function raises is raised in the item's place.
    """
    crew = _Crew(function, iter(items), num_threads + max(_FEWEST_SPARE, num_threads // 2))
    with ThreadPoolExecutor(num_threads, thread_name_prefix="shardline-prepare") as pool:
        for _ in range(num_threads):
            pool.submit(crew.work)
        try:
            yield from crew.results()
        finally:
            crew.stop(num_threads)


class _Crew(Generic[Item, Result]):
    """Threads that share a stream of items; `room` for as many results and items under work as that."""

    def __init__(self, function: Callable[[Item], Result], items: Iterator[Item], room: int) -> None:
        self._function, self._items = function, items
        self._taking, self._room, self._is_ended = Lock(), Semaphore(room), False
        self._places: SimpleQueue[Future[Result] | None] = SimpleQueue()

    def results(self) -> Iterator[Result]:
        """In the items' order."""
        while place := self._places.get():
            yield place.result()
            del place
            self._room.release()

    def stop(self, num_threads: int) -> None:
        """Let so many threads end, each when it has done what it is at."""
        self._is_ended = True
        self._room.release(num_threads)

    def work(self) -> None:
        """A thread's work, until the stream ends."""
        while self._room.acquire() and (taken := self._take()):
            place, item = taken
            try:
                place.set_result(self._function(item))
            except BaseException as error:
                place.set_exception(error)
            del taken, place, item  # a thread that waits for room holds nothing

    def _take(self) -> tuple[Future[Result], Item] | None:
        """The next item, and where its result goes; None at the end of the stream."""
        with self._taking:
            if self._is_ended:
                return None
            place: Future[Result] = Future()
            try:
                item = next(self._items)
            except BaseException as error:
                self._is_ended = True
                if not isinstance(error, StopIteration):
                    place.set_exception(error)
                    self._places.put(place)
                self._places.put(None)
                return None
            self._places.put(place)
            return place, item
