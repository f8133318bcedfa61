from typing import Any

import numpy as np
import pytest
import torch

from data.batch import Batch
from data.config import RandomConfig
from data.errors import ConfigError
from data.generating.random_rows import random_schema
from data.generating.random_source import RandomEvalReader, RandomReader

ONE_HOT = RandomConfig(num_dense=3, table_sizes=(7, 1000), num_rows=1000)
MULTI_HOT = RandomConfig(
    num_dense=3, table_sizes=(4, 1000, 50), num_lookups=(3, 10, 1), fixed_num_lookups=False, num_rows=1000
)
GAUSSIAN = RandomConfig(
    num_dense=3, table_sizes=(100,), dense_distribution="gaussian", ids_distribution="gaussian", ids_sigma=5.0
)


def reader(config: RandomConfig, rank: int = 0, num_ranks: int = 1, **settings: int) -> RandomReader:
    return RandomReader(
        config, rank=rank, num_ranks=num_ranks, **{"global_batch_size": 48, "seed": 1, "num_epochs": 1, **settings}
    )


def features(batch: Batch) -> list[Any]:
    """Everything of a batch, one entry per row, to compare it with batches cut otherwise."""
    bags = zip(*([ids.tolist() for ids in bag.to_dense()] for bag in batch.sparse.to_dict().values()), strict=True)
    return list(zip(batch.row_ids.tolist(), batch.labels.tolist(), batch.dense.tolist(), map(list, bags), strict=True))


@pytest.mark.parametrize("config", [ONE_HOT, MULTI_HOT])
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_global_batches_are_the_same_for_every_number_of_ranks(config: RandomConfig, num_ranks: int) -> None:
    shares = [[features(batch) for batch in reader(config, rank, num_ranks)] for rank in range(num_ranks)]

    together = [[row for share in step for row in share] for step in zip(*shares, strict=True)]
    assert together == [features(batch) for batch in reader(config)]


@pytest.mark.parametrize("config", [ONE_HOT, MULTI_HOT])
@pytest.mark.parametrize("start_step", [1, 19, 20, 33, 40])
def test_resumed_reader_goes_on_where_the_first_stopped(config: RandomConfig, start_step: int) -> None:
    whole = [features(batch) for batch in reader(config, num_epochs=2)]

    assert len(whole) == 40
    assert [features(batch) for batch in reader(config, num_epochs=2, start_step=start_step)] == whole[start_step:]


def test_every_epoch_has_the_same_rows() -> None:
    batches = [features(batch) for batch in reader(ONE_HOT, num_epochs=2)]

    assert batches[:20] == batches[20:]


def test_seeds_give_different_rows() -> None:
    first, second = (next(iter(reader(ONE_HOT, seed=seed))) for seed in (0, 1))

    assert not torch.equal(first.dense, second.dense)
    assert not torch.equal(first.sparse.values(), second.sparse.values())


def test_uniform_ids_are_rounded_so_that_both_end_rows_get_half_a_share() -> None:
    # round(r * 4) over five rows: 1/8, 1/4, 1/4, 1/4, 1/8. Of 100,000 draws the standard deviation of a share is at most 0.0014.
    config = RandomConfig(num_dense=0, table_sizes=(5,), num_rows=100_000)

    (batch,) = reader(config, global_batch_size=100_000)

    shares = torch.bincount(batch.sparse.values(), minlength=5) / 100_000
    assert shares.tolist() == pytest.approx([0.125, 0.25, 0.25, 0.25, 0.125], abs=0.007)


def test_uniform_dense_features_and_targets_fill_the_unit_interval() -> None:
    config = RandomConfig(num_dense=2, table_sizes=(5,), num_rows=100_000, round_targets=False)

    (batch,) = reader(config, global_batch_size=100_000)

    # A uniform number has mean 1/2 and variance 1/12; 100,000 of them a standard error of 0.0009 in the mean.
    for values in (batch.dense[:, 0], batch.dense[:, 1], batch.labels):
        assert (values.min() >= 0, values.max() < 1) == (True, True)
        assert values.mean().item() == pytest.approx(0.5, abs=0.005)
        assert values.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert abs(np.corrcoef(batch.dense[:, 0], batch.dense[:, 1])[0, 1]) < 0.016


def test_rounded_targets_are_zero_or_one_equally_often() -> None:
    (batch,) = reader(RandomConfig(num_dense=0, table_sizes=(5,), num_rows=100_000), global_batch_size=100_000)

    assert batch.labels.unique().tolist() == [0, 1]
    assert batch.labels.mean().item() == pytest.approx(0.5, abs=0.008)


def test_gaussian_features_have_their_mean_and_deviation() -> None:
    (batch,) = reader(GAUSSIAN, global_batch_size=1_000_000)

    ids = batch.sparse.values().double()
    assert batch.dense.mean().item() == pytest.approx(0, abs=0.005)
    assert batch.dense.std().item() == pytest.approx(1, abs=0.005)
    # Normal(49.5, 5) cut to whole numbers: the mean falls by 1/2, the variance grows by 1/12.
    assert ids.mean().item() == pytest.approx(49.0, abs=0.03)
    assert ids.std().item() == pytest.approx((25 + 1 / 12) ** 0.5, abs=0.03)


def test_gaussian_ids_are_clipped_to_their_range() -> None:
    config = RandomConfig(
        num_dense=0,
        table_sizes=(100,),
        ids_distribution="gaussian",
        ids_min=3,
        ids_max=9,
        ids_mu=6,
        ids_sigma=50,
        num_rows=1000,
    )

    (batch,) = reader(config, global_batch_size=1000)

    # Most draws lie far outside [3, 9], so the two ends hold nearly all ids.
    ids = batch.sparse.values()
    assert (ids.min().item(), ids.max().item()) == (3, 9)
    assert ((ids == 3) | (ids == 9)).float().mean() > 0.9


def test_bags_hold_distinct_ids_of_their_table() -> None:
    for batch in reader(MULTI_HOT):
        for row in features(batch):
            for bag, size, most in zip(row[3], (4, 1000, 50), (3, 10, 1), strict=True):
                assert bag == sorted(set(bag))
                assert 1 <= len(bag) <= most
                assert 0 <= bag[0] <= bag[-1] < size


def test_random_bag_lengths_are_rounded_like_the_ids() -> None:
    # max(1, round(r * 4)): 3/8 for one, 1/4 for two and three, 1/8 for four; a table of 2**30 rows has no duplicates to remove.
    config = RandomConfig(
        num_dense=0, table_sizes=(2**30,), num_lookups=(4,), fixed_num_lookups=False, num_rows=100_000
    )

    (batch,) = reader(config, global_batch_size=100_000)

    shares = torch.bincount(batch.sparse.lengths())[1:] / 100_000
    assert shares.tolist() == pytest.approx([0.375, 0.25, 0.25, 0.125], abs=0.008)


def test_fixed_number_of_lookups_fills_every_bag() -> None:
    config = RandomConfig(num_dense=0, table_sizes=(2**30, 2**30), num_lookups=(2, 5), num_rows=960)

    for batch in reader(config):
        assert batch.sparse.lengths().reshape(2, -1).unique(dim=1).tolist() == [[2], [5]]


def test_pooling_factor_is_the_mean_number_of_ids_in_a_bag() -> None:
    for config in (
        MULTI_HOT,
        RandomConfig(num_dense=0, table_sizes=(4, 1000, 50), num_lookups=(3, 10, 7), num_rows=10_000),
    ):
        lengths = torch.cat([batch.sparse.lengths().reshape(3, -1) for batch in reader(config)], dim=1)
        expected = [feature.pooling_factor for feature in random_schema(config).sparse]

        assert lengths.double().mean(dim=1).tolist() == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("config", [ONE_HOT, MULTI_HOT])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("num_rows", [1, 3, 49, 301])
def test_evaluation_covers_every_row_once_in_equal_steps(config: RandomConfig, num_rows: int, num_ranks: int) -> None:
    readers = [
        RandomEvalReader(
            config, split="val", global_batch_size=48, seed=1, rank=r, num_ranks=num_ranks, num_rows=num_rows
        )
        for r in range(num_ranks)
    ]

    batches = [list(reader) for reader in readers]

    rows = torch.cat([batch.row_ids for share in batches for batch in share])
    assert rows[rows >= 0].tolist() == list(range(1000, 1000 + num_rows))
    assert {len(share) for share in batches} == {readers[0].num_steps}
    assert {batch.num_rows for share in batches for batch in share} == {48 // num_ranks}


@pytest.mark.parametrize("config", [ONE_HOT, MULTI_HOT])
def test_padding_rows_hold_one_id_0_per_bag_and_nothing_else(config: RandomConfig) -> None:
    (batch,) = RandomEvalReader(config, split="val", global_batch_size=48, seed=1, rank=0, num_ranks=1, num_rows=40)

    padding = features(batch)[40:]

    assert padding == [(-1, 0.0, [0.0, 0.0, 0.0], [[0]] * len(config.table_sizes))] * 8


def test_train_val_and_test_rows_are_different_rows() -> None:
    def rows(split: Any) -> set[int]:
        settings: dict[str, int] = {"global_batch_size": 50, "seed": 1, "rank": 0, "num_ranks": 1}
        return {
            row
            for batch in RandomEvalReader(ONE_HOT, split=split, **settings)
            for row in batch.row_ids.tolist()
            if row >= 0
        }

    assert rows("val") == set(range(1000, 1100))
    assert rows("test") == set(range(1100, 1200))


def test_epoch_below_one_global_batch_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"num_rows.* holds 1000 rows, a global batch 1001"):
        reader(ONE_HOT, global_batch_size=1001)


def test_number_of_ranks_that_does_not_divide_the_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch of 48 rows cannot be shared evenly by 5 ranks"):
        reader(ONE_HOT, 0, 5)
