import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ConfigError
from data.reading.order import SampleOrder, num_lanes, usable_ranks
from data.reading.shares import train_batch_size

orders = st.builds(
    SampleOrder,
    global_batch_size=st.integers(1, 300),
    num_rows=st.integers(300, 3000),
    seed=st.integers(0, 2**40),
    window_rows=st.sampled_from([1, 100, 1000, 65_536]),
)


def epoch_rows(order: SampleOrder, epoch: int) -> np.ndarray:
    first = epoch * order.steps_per_epoch
    return np.stack([order.step_rows(first + step).reshape(-1) for step in range(order.steps_per_epoch)])


@given(orders)
@settings(max_examples=60, deadline=None)
def test_every_row_comes_at_most_once_in_an_epoch_and_every_step_is_full(order: SampleOrder) -> None:
    rows = epoch_rows(order, 1)

    assert rows.shape == (order.num_rows // order.global_batch_size, order.global_batch_size)
    assert len(np.unique(rows)) == rows.size
    assert rows.min() >= 0
    assert rows.max() < order.num_rows


@given(orders, st.data())
@settings(max_examples=40, deadline=None)
def test_a_rank_shuffles_its_lanes_as_one_rank_would_shuffle_all(order: SampleOrder, data: st.DataObject) -> None:
    ranks = data.draw(st.sampled_from(usable_ranks(order.global_batch_size)))
    window = data.draw(st.integers(0, order.num_windows - 1))
    lanes = np.array_split(np.arange(order.num_lanes), ranks)

    shares = [order.shuffle(3, window, range(share[0], share[-1] + 1)) for share in lanes]

    assert np.array_equal(np.concatenate(shares, axis=1), order.shuffle(3, window, range(order.num_lanes)))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def order(seed: int) -> SampleOrder:
        return SampleOrder(num_rows=5000, global_batch_size=100, seed=seed)

    first = epoch_rows(order(0), 0)

    # Of 5,000 places one in 5,000 keeps its row by chance, so equal rows at over 20 places would be no chance.
    assert np.sum(first == epoch_rows(order(0), 1)) < 20
    assert np.sum(first == epoch_rows(order(1), 0)) < 20


def test_rows_left_out_of_one_epoch_come_in_another() -> None:
    order = SampleOrder(num_rows=1099, global_batch_size=100, seed=0)

    left_out = [set(range(1099)) - set(epoch_rows(order, epoch).reshape(-1).tolist()) for epoch in range(6)]

    assert [len(rows) for rows in left_out] == [99] * 6
    assert not set.intersection(*left_out)


def test_rows_of_a_lane_are_spread_evenly_over_its_window() -> None:
    # 10 rows per lane and step, 27 steps per window: two neighbours of a lane meet in a step with probability 9 / 269. The
    # 8,608 pairs give a standard deviation of about 0.0019, so 0.0097 is five of them.
    order = SampleOrder(num_rows=8_640, global_batch_size=320, seed=0, window_rows=8_640)
    step_of_row = np.empty(8_640, np.int64)
    for step, rows in enumerate(epoch_rows(order, 0)):
        step_of_row[rows] = step

    together = np.mean(step_of_row[1:] == step_of_row[:-1])

    assert (order.lane_step_rows, order.steps_per_window) == (10, 27)
    assert together == pytest.approx(9 / 269, abs=0.0097)


def test_a_shuffled_window_keeps_nothing_of_the_row_order() -> None:
    # The rank correlation of a random order of 4,096 rows has standard deviation 1 / sqrt(4095), some 0.016.
    order = SampleOrder(num_rows=4096, global_batch_size=1, seed=5)

    rows = epoch_rows(order, 0).reshape(-1)

    assert abs(np.corrcoef(rows, np.arange(4096))[0, 1]) < 5 * 0.016
    assert np.mean(np.abs(np.diff(rows)) == 1) < 0.003


def test_order_never_changes_between_versions() -> None:
    # Written down in the first version: a checkpoint's step number means these rows. A change here breaks every resume.
    order = SampleOrder(num_rows=100_003, global_batch_size=2048, seed=42, window_rows=8192)

    digest = hashlib.sha256(
        np.concatenate([order.step_rows(step) for step in (0, 5, 47, 48, 1000)]).tobytes()
    ).hexdigest()

    assert digest[:16] == "ee42a76394500555"


@pytest.mark.parametrize(
    ("global_batch_size", "lanes"),
    [(1, 1), (7, 7), (241, 1), (482, 2), (240, 24), (1000, 20), (2048, 32), (4096, 64), (16_384, 128), (65_520, 240)],
)
def test_lanes_are_a_divisor_of_the_batch_that_many_numbers_of_ranks_divide(global_batch_size: int, lanes: int) -> None:
    assert num_lanes(global_batch_size) == lanes


def test_number_of_ranks_that_cannot_share_a_batch_is_refused_with_those_that_can() -> None:
    with pytest.raises(ConfigError, match=r"batch of 1000 rows .* 3 ranks: .* 20 lanes.* Use 1, 2, 4, 5, 10, 20"):
        train_batch_size(1000, 0, 3)
