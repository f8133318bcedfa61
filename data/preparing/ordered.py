"""A function over a stream on several threads, results in the stream's order, few items in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Items in flight beyond one a thread: so many that no thread waits while the consumer is busy with several results at once.
_FEWEST_SPARE = 6


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> Iterator[Result]:
    """`function(item)` for each item, in order. Few more items than threads are in flight, whatever the stream's length."""
    most = num_threads + max(_FEWEST_SPARE, num_threads // 2)
    with ThreadPoolExecutor(num_threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
