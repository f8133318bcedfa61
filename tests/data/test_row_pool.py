from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.reading.blocks import OneHotLayout
from data.reading.row_pool import PADDING_ADDRESS, RowPool
from data.reading.stored_split import StoredSplit

LAYOUT = OneHotLayout(("C1", "C2", "C3"), 4)


def test_rows_at_hand_survive_when_the_pool_grows(write_dataset: Callable[..., Path]) -> None:
    stored = StoredSplit(write_dataset(2500), "train")
    pool = RowPool(stored)
    first = stored.pieces(10, 3)
    pool.load(first)
    addresses = np.append(pool.addresses(first), PADDING_ADDRESS)[None]

    pool.load(stored.pieces(0, 2500))

    block = pool.gather(addresses, LAYOUT)
    assert block.row_ids.tolist() == [[10, 11, 12, -1]]
    assert block.ids.tolist() == [[[10, 11, 12, 0], [70, 77, 84, 0], [13, 24, 35, 0]]]
    assert block.dense.tolist() == [[[10, -10], [11, -11], [12, -12], [0, 0]]]


def test_rows_of_a_retired_row_group_stay_until_its_slot_is_released(write_dataset: Callable[..., Path]) -> None:
    stored = StoredSplit(write_dataset(2500), "train")
    pool = RowPool(stored)
    pool.load(stored.pieces(0, 4))
    addresses = pool.addresses(stored.pieces(0, 4))[None]
    slots = pool.retire_all_but([])

    pool.load(stored.pieces(500, 640))
    before = pool.gather(addresses, LAYOUT).row_ids.tolist()
    pool.release(slots)
    pool.load(stored.pieces(1500, 640))

    assert before == [[0, 1, 2, 3]]
    assert pool.gather(addresses, LAYOUT).row_ids.tolist() != before


def test_pieces_stop_at_short_last_row_groups_and_go_on_with_the_first_row(
    write_dataset: Callable[..., Path],
) -> None:
    # 1,000 rows per part, 64 per row group: the last row group of the first part holds rows 960 to 999.
    stored = StoredSplit(write_dataset(2500), "train")

    assert stored.pieces(990, 15) == [(0, 15, 30, 40), (1, 0, 0, 5)]
    assert stored.pieces(2498, 3) == [(2, 7, 50, 52), (0, 0, 0, 1)]
