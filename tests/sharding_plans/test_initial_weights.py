import pytest
import torch

from sharding_plans.applying.initial_weights import BLOCK_ROWS, uniform_shard, uniform_table


def test_weights_of_a_seed_are_these_for_ever() -> None:
    table = uniform_table(0, "t", 2, 2, low=-1.0, high=1.0)

    expected = [[0.8557623624801636, 0.9182220697402954], [-0.2404385805130005, 0.6668720245361328]]
    assert table.tolist() == expected


@pytest.mark.parametrize("rows", [(0, 3000), (0, 0), (1000, 1030), (BLOCK_ROWS, 2 * BLOCK_ROWS), (2999, 3000)])
@pytest.mark.parametrize("columns", [(0, 6), (2, 5)])
def test_a_shard_is_its_piece_of_the_table(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    table = uniform_table(3, "t", 3000, 6, low=-0.5, high=0.25)
    shard = torch.full((rows[1] - rows[0], columns[1] - columns[0]), torch.nan)

    uniform_shard(3, "t", rows=rows, columns=columns, dim=6, low=-0.5, high=0.25, out=shard)

    assert torch.equal(shard, table[slice(*rows), slice(*columns)])


def test_weights_are_uniform_in_their_range() -> None:
    table = uniform_table(1, "t", 20_000, 8, low=-0.5, high=0.25)

    assert table.min() >= -0.5
    assert table.max() < 0.25
    # mean -0.125 and standard deviation 0.75 / sqrt(12), each within four standard errors of 160,000 draws
    assert table.mean().item() == pytest.approx(-0.125, abs=4 * 0.2165 / 400)
    assert table.std().item() == pytest.approx(0.2165, abs=4 * 0.2165 / 400)


def test_seeds_and_tables_are_independent() -> None:
    drawn = [
        uniform_table(seed, name, 4000, 4, low=-1.0, high=1.0).flatten()
        for seed, name in ((0, "a"), (0, "b"), (1, "a"))
    ]

    correlations = torch.corrcoef(torch.stack(drawn)) - torch.eye(3)
    assert correlations.abs().max() < 0.05
