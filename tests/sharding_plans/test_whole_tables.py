"""Tables held whole are looked up as by FBGEMM's own module, to the bit, and learn the same."""

from typing import Any

import pytest
import torch
from fbgemm_gpu.split_table_batched_embeddings_ops_common import PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import DenseTableBatchedEmbeddingBagsCodegen
from torch import Tensor
from torchrec.distributed.composable.table_batched_embedding_slice import TableBatchedEmbeddingSlice

from pipeline.training.table_optimizer import TableOptimizer
from sharding_plans.applying import whole_tables

SPECS, TABLES = [(50, 8), (7, 2), (300, 6)], [0, 1, 1, 2]
BATCH = 16


def kernel(pooling: PoolingMode, *, is_direct: bool) -> Any:
    made = DenseTableBatchedEmbeddingBagsCodegen(SPECS, feature_table_map=TABLES, pooling_mode=pooling, use_cpu=True)
    with torch.no_grad():
        made.weights.copy_(torch.rand(made.weights.shape, generator=torch.Generator().manual_seed(1)))
    if is_direct:
        whole_tables.look_up_directly(made)
    return made


def bags(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bags with 0 to 4 ids of each feature, many of them twice: ids, and where bags begin and the last ends."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(0, 5, (len(TABLES), BATCH), generator=generator)
    ids = [
        torch.randint(0, SPECS[table][0], (int(of_feature.sum()),), generator=generator)
        for table, of_feature in zip(TABLES, lengths, strict=True)
    ]
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.flatten().cumsum(0)])
    return torch.cat(ids).to(dtype), ends.to(torch.int32)


def looked_up(made: Any, *, is_weighted: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The pooled embeddings, and the gradient of the tables where each of their values has its own."""
    ids, ends = bags(dtype)
    weights = torch.rand(len(ids), generator=torch.Generator().manual_seed(3)).double() if is_weighted else None
    pooled = made(indices=ids, offsets=ends, per_sample_weights=weights)
    (pooled * torch.arange(pooled.numel()).view(pooled.shape)).sum().backward()
    return pooled.detach(), made.weights.grad


@pytest.mark.parametrize("pooling", [PoolingMode.SUM, PoolingMode.MEAN])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_direct_lookups_and_gradients_are_those_of_the_module(
    pooling: PoolingMode, is_weighted: bool, dtype: torch.dtype
) -> None:
    theirs, ours = (
        looked_up(kernel(pooling, is_direct=way), is_weighted=is_weighted, dtype=dtype) for way in (False, True)
    )
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    assert ours[1].count_nonzero() > 100


def test_the_module_itself_is_asked_for_what_the_operator_is_not_given() -> None:
    asked = []
    made = kernel(PoolingMode.SUM, is_direct=False)
    made.forward = lambda *given, **named: asked.append((given, named))
    whole_tables.look_up_directly(made)
    ids, ends = bags(torch.int64)
    made(ids, ends, batch_size_per_feature_per_rank=[[BATCH]] * len(TABLES))
    assert asked[0][1] == {"batch_size_per_feature_per_rank": [[BATCH]] * len(TABLES)}


def tables_of(holder: torch.nn.Parameter, width: int = 2) -> list[TableBatchedEmbeddingSlice]:
    """Two tables of 6 and 4 values, as TorchRec keeps them in one parameter."""
    return [
        TableBatchedEmbeddingSlice(holder, 0, 6, 6 // width, width),
        TableBatchedEmbeddingSlice(holder, 6, 10, 4 // width, width),
    ]


def test_all_tables_of_a_kernel_are_kept_in_its_parameter_and_some_of_them_in_themselves() -> None:
    holder, alone = torch.nn.Parameter(torch.zeros(10)), torch.nn.Parameter(torch.zeros(3))
    first, second = tables_of(holder)
    assert found_in([first, alone, second]) == [(id(holder), [id(first), id(second)]), (id(alone), [id(alone)])]
    assert found_in([second, alone]) == [(id(second), [id(second)]), (id(alone), [id(alone)])]


def found_in(weights: list[torch.nn.Parameter]) -> list[tuple[int, list[int]]]:
    return [(id(holder), [id(each) for each in held]) for holder, held in whole_tables.kept_in(weights)]


@pytest.mark.parametrize("algorithm", ["sgd", "adagrad", "row_wise_adagrad"])
@pytest.mark.parametrize(("num_trained", "width"), [(1, 2), (2, 2), (2, 1)])
def test_tables_of_one_kernel_move_and_remember_as_tables_alone_do(
    algorithm: Any, num_trained: int, width: int
) -> None:
    holder = torch.nn.Parameter(torch.arange(10.0))
    tables = tables_of(holder, width)[:num_trained]
    alone = [torch.nn.Parameter(table.detach().clone().as_subclass(Tensor)) for table in tables]
    ours, theirs = (
        TableOptimizer(
            {f"t{at}": table for at, table in enumerate(some)}, algorithm, lr=0.5, eps=1.0, initial_accumulator=0.25
        )
        for some in (tables, alone)
    )
    for _ in range(2):
        (holder * holder.detach()).sum().backward()
        for table, single in zip(tables, alone, strict=True):
            single.grad = table.grad.clone()
        ours.step()
        theirs.step()
        holder.grad = None
    for table, single in zip(tables, alone, strict=True):
        assert table.tolist() == single.tolist()
        assert len(ours.state[table]) == (0 if algorithm == "sgd" else 1)
        for kept, expected in zip(ours.state[table].values(), theirs.state[single].values(), strict=True):
            assert torch.equal(kept, expected)
    assert holder[5] < 5.0
    assert holder[6:].tolist() == ([6.0, 7.0, 8.0, 9.0] if num_trained == 1 else alone[1].flatten().tolist())
