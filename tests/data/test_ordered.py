"""A function over a stream on threads: order, few items in memory, errors in their place, an end at any time."""

import random
import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from data.preparing.ordered import map_in_order


def slow_square(number: int) -> int:
    time.sleep(random.Random(number).random() / 500)
    return number * number


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(num_threads: int) -> None:
    assert list(map_in_order(slow_square, range(200), num_threads)) == [number**2 for number in range(200)]


def test_no_more_is_taken_than_there_is_room_for_and_nothing_after_the_end() -> None:
    taken: list[int] = []
    results = map_in_order(lambda number: number, (taken.append(number) or number for number in range(1000)), 2)
    assert list(islice(results, 50)) == list(range(50))
    time.sleep(0.2)  # long enough to take all of the others
    assert 50 <= len(taken) <= 50 + 6
    assert [thread for thread in threading.enumerate() if thread.name.startswith("shardline-prepare")]
    results.close()
    assert len(taken) <= 50 + 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shardline-prepare")]


def test_an_error_is_raised_behind_the_results_before_it() -> None:
    def refuse_seven(number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        return slow_square(number)

    found: list[int] = []
    with pytest.raises(ValueError, match="seven"):
        found.extend(map_in_order(refuse_seven, range(100), 3))
    assert found == [number**2 for number in range(7)]


def test_an_error_of_the_stream_is_raised_in_its_place_too() -> None:
    def stream() -> Iterator[int]:
        yield from range(5)
        raise OSError("no more to read")

    found: list[int] = []
    with pytest.raises(OSError, match="no more to read"):
        found.extend(map_in_order(slow_square, stream(), 2))
    assert found == [0, 1, 4, 9, 16]
