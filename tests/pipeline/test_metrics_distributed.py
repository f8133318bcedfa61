"""Metrics of the rows of several ranks: the same bits at any number of ranks, mistakes raised on all of them."""

import numpy as np
import pytest

from data.errors import DataError
from pipeline.metrics import blocks
from pipeline.metrics.distributed import distributed_scores

ROW_COUNTS = (3, 10_007)


def rows_of(num_rows: int):
    rng = np.random.default_rng(num_rows)
    scores = (1 / (1 + np.exp(1 - rng.standard_normal(num_rows)))).astype(np.float32)
    scores[: num_rows // 2] = np.round(scores[: num_rows // 2], 2)
    labels = (rng.random(num_rows) < scores).astype(np.float32)
    labels[:2] = [0, 1]
    return scores, labels, np.arange(num_rows) * 3 + 1, rng.choice([0.1, 0.7, 1.3], num_rows)


def metrics_on_this_rank() -> list[dict[str, float]]:
    """Contiguous shares as the reader gives them, then shares dealt like cards, each padded by one row of id -1."""
    import torch.distributed as dist

    blocks.BLOCK_ROWS = 1500
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    results = []
    for num_rows in ROW_COUNTS:
        columns = rows_of(num_rows)
        contiguous = slice(rank * num_rows // num_ranks, (rank + 1) * num_rows // num_ranks)
        for share in (contiguous, slice(rank, None, num_ranks)):
            for weighted in (False, True):
                exact = distributed_scores(weighted=weighted)
                p, y, ids, w = (
                    np.append(column[share], pad) for column, pad in zip(columns, (0.5, 0, -1, 1), strict=True)
                )
                exact.add(p.astype(np.float32), y, ids, w if weighted else None)
                results.append(exact.evaluate().metrics())
    return results


def errors_on_this_rank() -> list[str]:
    import torch.distributed as dist

    rank = dist.get_rank()
    texts = []
    for scores, ids in (([0.1, np.nan if rank else 0.5], [2 * rank, 2 * rank + 1]), ([0.5, 0.6], [rank, rank + 1])):
        exact = distributed_scores()
        exact.add(np.array(scores, np.float32), [0, 1], ids)
        with pytest.raises(DataError) as error:
            exact.evaluate()
        texts.append(str(error.value))
    return texts


def test_metrics_have_the_same_bits_on_one_two_and_four_ranks(run_on_ranks):
    results = {num_ranks: run_on_ranks(num_ranks, metrics_on_this_rank) for num_ranks in (1, 2, 4)}
    reference = [str(metrics) for metrics in results[1][0]]  # as text: nan is nan
    for on_ranks in results.values():
        for metrics in on_ranks:
            assert [str(item) for item in metrics] == reference
    assert [item["num_samples"] for item in results[4][3]] == [3] * 4 + [10_007] * 4


def test_a_mistake_on_one_rank_is_raised_on_all(run_on_ranks):
    first, second = run_on_ranks(2, errors_on_this_rank)
    assert first == second
    assert "of 4 rows" in first[0]
    assert "1 x NaN score (the first: nan at row 3)" in first[0]
    assert "1 x duplicate row id (the first: 1)" in first[1]
