"""Tables are updated as by FBGEMM's own backward pass: to the bit, or but for last bits where SGD takes them as one table."""

from threading import current_thread
from typing import Any

import psutil
import pytest
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType, SparseType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    SplitTableBatchedEmbeddingBagsCodegen,
)
from torch import Tensor

from sharding_plans.applying import single_ids, table_updates

ROWS, WIDTHS, TABLES = (50, 7, 300, 20, 1000), (8, 4, 16, 8, 12), (0, 1, 1, 2, 3, 4, 4)
"""The last: the table of each feature, two of them shared."""
BATCH, STEPS = 64, 3
OPTIMIZERS = {
    EmbOptimType.EXACT_SGD: {},
    EmbOptimType.EXACT_ADAGRAD: {"eps": 1e-3},
    EmbOptimType.EXACT_ROWWISE_ADAGRAD: {"eps": 1e-3, "weight_decay": 0.01},
}


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_updates, "FEW_VALUES", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def kernel(optimizer: EmbOptimType, pooling: PoolingMode, *, is_shared: bool, **settings: Any) -> Any:
    made = SplitTableBatchedEmbeddingBagsCodegen(
        [(rows, width, EmbeddingLocation.HOST, ComputeDevice.CPU) for rows, width in zip(ROWS, WIDTHS, strict=True)],
        feature_table_map=list(TABLES),
        optimizer=optimizer,
        pooling_mode=pooling,
        learning_rate=0.1,
        **settings,
    )
    generator = torch.Generator().manual_seed(1)
    for weights in made.split_embedding_weights():
        weights.copy_(torch.rand(weights.shape, generator=generator))
    if is_shared:
        table_updates.share_updates(made)
    return made


def train(made: Any, is_weighted: bool) -> list[Tensor]:
    """Weights and states after some steps of bags with 0 to 4 ids, many of them twice; gradients differ in every value."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(STEPS):
        lengths = torch.randint(0, 5, (len(TABLES), BATCH), generator=generator)
        ids = [
            torch.randint(0, ROWS[t], (int(n.sum()),), generator=generator)
            for t, n in zip(TABLES, lengths, strict=True)
        ]
        indices, offsets = torch.cat(ids), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.flatten().cumsum(0)])
        weights = torch.rand(len(indices), generator=generator) if is_weighted else None
        pooled = made(indices, offsets, per_sample_weights=weights)
        pooled.backward(torch.randn(pooled.shape, generator=generator))
    states = [state for states in made.split_optimizer_states() for state in states]
    return [*made.split_embedding_weights(), *states]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("pooling", "is_weighted"), [(PoolingMode.SUM, False), (PoolingMode.SUM, True), (PoolingMode.MEAN, False)]
)
def test_tables_and_states_are_those_of_one_backward_pass(
    optimizer: EmbOptimType, pooling: PoolingMode, is_weighted: bool, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, update = [], table_updates._update
    monkeypatch.setattr(
        table_updates, "_update", lambda *given: threads.append(current_thread().name) or update(*given)
    )
    shared = train(kernel(optimizer, pooling, is_shared=True, **OPTIMIZERS[optimizer]), is_weighted)
    whole = train(kernel(optimizer, pooling, is_shared=False, **OPTIMIZERS[optimizer]), is_weighted)

    assert len(threads) == 2 * STEPS
    assert sorted(name[:9] for name in set(threads)) == ["MainThrea", "shardline"]
    for of_shared, of_whole in zip(shared, whole, strict=True):
        assert torch.equal(of_shared, of_whole)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("pooling", [PoolingMode.SUM, PoolingMode.MEAN])
def test_single_ids_of_tables_as_wide_are_looked_up_as_fbgemm_does(
    optimizer: EmbOptimType, pooling: PoolingMode, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up, look_up = [], table_updates.look_up_single
    monkeypatch.setattr(
        table_updates, "look_up_single", lambda *given: looked_up.append(look_up(*given)) or looked_up[-1]
    )
    monkeypatch.setattr(f"{__name__}.WIDTHS", (8,) * len(WIDTHS))
    pair = [kernel(optimizer, pooling, is_shared=shared, **OPTIMIZERS[optimizer]) for shared in (True, False)]
    generator = torch.Generator().manual_seed(3)
    for _ in range(STEPS):
        indices = torch.cat([torch.randint(0, ROWS[t], (BATCH,), generator=generator) for t in TABLES])
        indices[5] = ROWS[0]  # no such row: the first is taken, and it must not be the next table's
        offsets = torch.arange(len(indices) + 1)
        shared, whole = (each(indices.clone(), offsets) for each in pair)
        assert torch.equal(shared, whole)
        gradient = torch.randn(whole.shape, generator=generator)
        shared.backward(gradient)
        whole.backward(gradient)
        with torch.no_grad():
            assert torch.equal(*(each(indices.clone(), offsets) for each in pair))
    assert len(looked_up) == 2 * STEPS
    for of_shared, of_whole in zip(*(each.split_embedding_weights() for each in pair), strict=True):
        assert torch.equal(of_shared, of_whole)


@pytest.fixture
def as_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few ids as those of a test are worth it, in tables of so few columns."""
    monkeypatch.setattr(single_ids, "_FEWEST", 0)
    monkeypatch.setattr(f"{__name__}.WIDTHS", (16,) * len(WIDTHS))


@pytest.mark.usefixtures("as_one_table")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pooling", [PoolingMode.SUM, PoolingMode.MEAN])
def test_single_ids_updated_as_one_table_are_updated_as_fbgemm_does(
    pooling: PoolingMode, threads: int, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(threads)
    monkeypatch.setattr(table_updates, "_update", lambda *given: pytest.fail("table by table"))
    added, trained_single = [], table_updates.trained_single
    monkeypatch.setattr(table_updates, "trained_single", lambda *given: added.append(1) or trained_single(*given))
    pair = [kernel(EmbOptimType.EXACT_SGD, pooling, is_shared=shared) for shared in (True, False)]
    generator = torch.Generator().manual_seed(4)
    for rate in (0.1, 0.7):
        indices = torch.cat([torch.randint(0, ROWS[t], (BATCH,), generator=generator) for t in TABLES])  # many twice
        indices[5] = ROWS[0]  # no such row: the first is taken
        gradient = torch.randn(sum(pair[0].dims[t] for t in TABLES), BATCH, generator=generator).t()
        for each in pair:
            each.set_learning_rate(rate)
            each(indices.clone(), torch.arange(len(indices) + 1)).backward(gradient)
    assert len(added) == 2
    for of_shared, of_whole in zip(*(each.split_embedding_weights() for each in pair), strict=True):
        torch.testing.assert_close(of_shared, of_whole, rtol=1e-5, atol=1e-5)  # up to 64 gradients of a row, in float32


@pytest.mark.usefixtures("as_one_table")
def test_what_sgd_does_not_add_to_single_rows_is_left_to_fbgemm(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_updates, "trained_single", lambda *given: pytest.fail("added"))
    several = kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=True)
    train(several, is_weighted=False)
    indices = torch.cat([torch.arange(7) for _ in TABLES])
    with_state = kernel(EmbOptimType.EXACT_ROWWISE_ADAGRAD, PoolingMode.SUM, is_shared=True, eps=1e-3)
    clipped = kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=True, gradient_clipping=True, max_gradient=1e-3)
    monkeypatch.setattr(f"{__name__}.WIDTHS", (8,) * len(WIDTHS))
    narrow = kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=True)
    for each in (with_state, clipped, narrow):
        each(indices, torch.arange(len(indices) + 1)).sum().backward()
    monkeypatch.setattr(f"{__name__}.WIDTHS", (16,) * len(WIDTHS))
    plain = kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=True)
    with pytest.raises(pytest.fail.Exception, match="added"):  # but for what the others have, it would be
        plain(indices, torch.arange(len(indices) + 1))
    monkeypatch.setattr(single_ids, "_MOST", len(indices) - 1)
    before = plain.weights_host.detach().clone()
    plain(indices, torch.arange(len(indices) + 1)).sum().backward()
    assert not torch.equal(plain.weights_host, before)


def test_a_learning_rate_that_is_set_later_counts(two_threads: None) -> None:
    pair = [kernel(EmbOptimType.EXACT_ADAGRAD, PoolingMode.SUM, is_shared=shared) for shared in (True, False)]
    for each in pair:
        train(each, is_weighted=False)
        each.set_learning_rate(0.7)
    for shared, whole in zip(*(train(each, is_weighted=False) for each in pair), strict=True):
        assert torch.equal(shared, whole)


def test_shares_keep_a_tables_features_together_and_are_about_as_large() -> None:
    made = kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=False)
    even = [100 * t for t in range(len(TABLES) + 1)]

    assert table_updates._shares(made, even, 1) == [(0, 7)]
    assert table_updates._shares(made, even, 2) == [(0, 4), (4, 7)]  # 3,200 and 3,200 of 6,400 values
    assert table_updates._shares(made, even, 100) == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 7)]
    assert table_updates._shares(made, [0, 0, 0, 0, 0, 0, 900, 1800], 2) == [(0, 5), (5, 7)]


def test_clipped_gradients_and_half_precision_are_left_to_fbgemm(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_updates, "_update", lambda *given: pytest.fail("was shared"))
    for settings in ({"gradient_clipping": True, "max_gradient": 1e-3}, {"weights_precision": SparseType.FP16}):
        pair = [
            kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=shared, **settings) for shared in (True, False)
        ]
        for shared, whole in zip(*(train(each, is_weighted=False) for each in pair), strict=True):
            assert torch.equal(shared, whole)


def test_a_small_update_is_one_threads(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_updates, "FEW_VALUES", 10**9)
    made = kernel(EmbOptimType.EXACT_SGD, PoolingMode.SUM, is_shared=True)
    train(made, is_weighted=False)
    changes, set_num_threads = [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda number: changes.append(number) or set_num_threads(number))
    train(made, is_weighted=False)
    assert changes == [1, 2] * STEPS


@pytest.mark.usefixtures("two_threads")
def test_the_threads_of_an_operation_have_left_their_cores_when_tables_are_updated() -> None:
    values = torch.ones(4_000_000)  # so many that either thread has a part
    values.sum()
    with_team = psutil.Process().num_threads()
    table_updates._end_team()
    assert psutil.Process().num_threads() == with_team - 1
    assert values.sum() == 4_000_000
    assert psutil.Process().num_threads() == with_team
