"""What TorchRec does without each guard, on two live ranks, and what happens with it.

Every demonstration is a function that runs on the ranks; all but those that break the group share one.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.optim.optimizers import in_backward_optimizer_filter
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from data.errors import ConfigError, PlanError
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.agreement import check_equal_batches, fail_together
from sharding_plans.applying.apply import initialise_unsharded, local_pieces, shard, trained_parameters
from tests.sharding_plans.planning import tables
from tests.sharding_plans.test_guards import plan_for

CPU = torch.device("cpu")
SHAPES = (("a", 40, 8), ("b", 12, 8), ("c", 20, 8))
Plan = tuple[str, ...]


def batch(rows: int = 4) -> KeyedJaggedTensor:
    """Bags of 2, 3 and 1 ids in features a, b and c, the same on every rank."""
    lengths = torch.tensor([2] * rows + [3] * rows + [1] * rows)
    values = torch.arange(int(lengths.sum())) % 12
    return KeyedJaggedTensor(keys=["a", "b", "c"], values=values, lengths=lengths)


def unsharded(mean: tuple[str, ...] = ()) -> EmbeddingBagCollection:
    module = tables(*SHAPES, mean=mean, device="cpu")
    initialise_unsharded(module, seed=0)
    return module.ebc  # pyright: ignore[reportReturnType]


def unguarded(
    module: nn.Module, plan: Any, sharder: EmbeddingBagCollectionSharder | None = None
) -> DistributedModelParallel:
    """Sharded by TorchRec alone, with the weights that `shard` would give."""
    from sharding_plans.applying.apply import _initialise, table_configs
    from sharding_plans.planning.sharders import EveryTypeSharder

    configs = dict(table_configs(module))
    sharders: Any = [sharder or EveryTypeSharder()]
    sharded = DistributedModelParallel(module, plan=plan, sharders=sharders, device=CPU)
    _initialise(sharded, configs, 0)
    return sharded


def pooled(ebc: Callable[[KeyedJaggedTensor], Any], ids: KeyedJaggedTensor) -> Tensor:
    return KeyedTensor.regroup([ebc(ids)], [["a", "b", "c"]])[0]


def plan_on(module: nn.Module, types: Plan) -> Any:
    return plan_for(module, *types, num_ranks=2, ranks_per_host=2)


def mean_error(types: Plan, mean: tuple[str, ...]) -> float:
    module = tables(*SHAPES, mean=mean)
    sharded = unguarded(module, plan_on(module, types))
    return (pooled(sharded.module.ebc, batch()) - pooled(unsharded(mean), batch())).abs().max().item()  # pyright: ignore


def key_orders() -> tuple[list[str], list[str]]:
    module = tables(*SHAPES)
    sharded = shard(module, plan_on(module, ("row_wise", "table_wise", "row_wise")), CPU, seed=0)
    return sharded.module.ebc(batch()).keys(), unsharded()(batch()).keys()  # pyright: ignore


def row_wise_adagrad_error(types: Plan) -> float:
    """Largest difference of the weights of table a after three steps, from row-wise Adagrad under table-wise sharding."""
    found = []
    for kinds in (types, ("table_wise",) * 3):
        module = tables(*SHAPES)
        plan = plan_on(module, kinds)
        settings = SparseOptimizerConfig(algorithm="row_wise_adagrad", lr=0.1)
        attach_sparse_optimizer(module, settings)
        sharded = unguarded(module, plan)
        train(sharded, build_optimizer(sharded, settings, DenseOptimizerConfig()))
        found.append(whole_table(sharded, "ebc.embedding_bags.a.weight", 40))
    return (found[0] - found[1]).abs().max().item()


def train(sharded: DistributedModelParallel, optimizer: Any, steps: int = 3) -> None:
    target = torch.linspace(-1, 1, 4 * 24).reshape(4, 24)
    for _ in range(steps):
        optimizer.zero_grad()
        (pooled(sharded.module.ebc, batch()) - target).square().sum().backward()  # pyright: ignore
        optimizer.step()


def whole_table(sharded: DistributedModelParallel, name: str, rows: int) -> Tensor:
    """A table from the shards of all ranks; not for data-parallel ones."""
    full = torch.zeros(rows, 8)
    for at_rows, at_columns, tensor in local_pieces(sharded.state_dict()[name]):
        full[slice(*at_rows), slice(*at_columns)] = tensor
    dist.all_reduce(full)
    return full


def decay_error() -> float:
    """What weight decay of 0.5 changes in fused SGD on CPU: nothing, against 5 % a step at this learning rate."""
    found = []
    for settings in ({"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.5}):
        from torch.distributed.optim import _apply_optimizer_in_backward  # pyright: ignore[reportPrivateImportUsage]

        module = tables(*SHAPES)
        plan = plan_on(module, ("table_wise",) * 3)
        _apply_optimizer_in_backward(torch.optim.SGD, module.parameters(), settings)
        sharded = unguarded(module, plan)
        train(sharded, sharded.fused_optimizer, steps=1)
        found.append(whole_table(sharded, "ebc.embedding_bags.a.weight", 40))
    return (found[0] - found[1]).abs().max().item()


def adam_without_guard() -> str:
    from torch.distributed.optim import _apply_optimizer_in_backward  # pyright: ignore[reportPrivateImportUsage]

    module = tables(*SHAPES)
    plan = plan_on(module, ("table_wise",) * 3)
    _apply_optimizer_in_backward(torch.optim.Adam, module.parameters(), {"lr": 0.1})
    try:
        unguarded(module, plan)
    except AssertionError as error:
        return str(error)
    return ""


def data_parallel_parameters() -> tuple[list[str], list[str]]:
    """Names of what the fused optimizer trains, and of what a dense optimizer for all other parameters would train."""
    module = tables(*SHAPES)
    attach_sparse_optimizer(module, SparseOptimizerConfig())
    sharded = shard(module, plan_on(module, ("table_wise", "data_parallel", "row_wise")), CPU, seed=0)
    others = dict(in_backward_optimizer_filter(sharded.named_parameters()))
    parameters = trained_parameters(sharded)
    assert list(parameters.data_parallel) == list(others)
    assert not parameters.dense
    return list(parameters.fused.params), list(others)


def out_of_range(sharder: EmbeddingBagCollectionSharder | None) -> str:
    """What comes of id 99 in a table of 12 rows on the rank that holds it: the error, or whose row was taken."""
    module = tables(*SHAPES)
    plan = plan_on(module, ("row_wise", "table_wise", "row_wise"))
    plan.plan["ebc"]["b"].ranks = [0]
    plan.plan["ebc"]["b"].sharding_spec.shards[0].placement._rank = 0
    tbe: Any = unguarded(module, plan, sharder).module.ebc._lookups[1]  # pyright: ignore
    if dist.get_rank() != 0:
        return ""
    kernel = tbe._emb_modules[0]._emb_module
    ids, offsets = torch.tensor([99]), torch.tensor([0, 1])
    try:
        taken = kernel(ids, offsets)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "row 0" if torch.equal(taken, kernel(torch.tensor([0]), offsets)) else "another row"


def plans_that_differ() -> str:
    module = tables(*SHAPES)
    kind = "table_wise" if dist.get_rank() == 0 else "row_wise"
    try:
        shard(module, plan_on(module, (kind,) * 3), CPU, seed=0)
    except PlanError as error:
        return str(error)
    return ""


def failure_of_one_rank() -> str:
    def check() -> str:
        if dist.get_rank() == 1:
            raise ConfigError("only rank 1 knows")
        return ""

    try:
        fail_together(check)
    except ConfigError as error:
        return str(error)
    return ""


def unequal_batches() -> str:
    try:
        check_equal_batches(4 - dist.get_rank())
    except ConfigError as error:
        return str(error)
    return ""


def demonstrations() -> dict[str, Any]:
    every_row: Plan = ("row_wise", "row_wise", "row_wise")
    return {
        "mean beside row-wise": mean_error(("row_wise", "table_wise", "table_wise"), mean=("a",)),
        "mean on grid": mean_error(("grid_shard",) * 3, mean=("a",)),
        "mean all row-wise": mean_error(every_row, mean=("a",)),
        "key orders": key_orders(),
        "row-wise Adagrad, column-wise": row_wise_adagrad_error(("column_wise", "row_wise", "data_parallel")),
        "row-wise Adagrad, row-wise": row_wise_adagrad_error(("row_wise", "row_wise", "data_parallel")),
        "weight decay": decay_error(),
        "adam": adam_without_guard(),
        "data-parallel": data_parallel_parameters(),
        "id outside, TorchRec": out_of_range(EmbeddingBagCollectionSharder()),
        "id outside, ours": out_of_range(None),
        "plans that differ": plans_that_differ(),
        "failure of one rank": failure_of_one_rank(),
        "unequal batches": unequal_batches(),
    }


@pytest.fixture(scope="module")
def found(run_on_ranks: Callable[..., list[Any]]) -> list[dict[str, Any]]:
    return run_on_ranks(2, demonstrations)


def test_mean_is_wrong_beside_row_wise_tables_and_right_among_them(found: list[dict[str, Any]]) -> None:
    assert found[0]["mean beside row-wise"] > 0.01
    assert found[0]["mean on grid"] > 0.01
    assert found[0]["mean all row-wise"] < 1e-6


def test_a_plan_changes_the_order_of_keys(found: list[dict[str, Any]]) -> None:
    sharded, plain = found[0]["key orders"]

    assert sharded != plain
    assert sorted(sharded) == sorted(plain)


def test_row_wise_adagrad_is_another_algorithm_on_column_shards(found: list[dict[str, Any]]) -> None:
    assert found[0]["row-wise Adagrad, column-wise"] > 0.01
    assert found[0]["row-wise Adagrad, row-wise"] < 1e-6


def test_fused_cpu_kernels_ignore_weight_decay(found: list[dict[str, Any]]) -> None:
    assert found[0]["weight decay"] == 0.0


def test_adam_ends_in_an_assertion_deep_inside(found: list[dict[str, Any]]) -> None:
    assert "adam is not supported in CPU mode" in found[0]["adam"]


def test_the_fused_optimizer_leaves_data_parallel_tables_out(found: list[dict[str, Any]]) -> None:
    fused, others = found[0]["data-parallel"]

    assert fused == ["ebc.embedding_bags.a.weight", "ebc.embedding_bags.c.weight"]
    assert others == ["ebc.embedding_bags.b.weight"]


def test_an_id_outside_its_table_raises_in_place_of_training_row_0(found: list[dict[str, Any]]) -> None:
    assert found[0]["id outside, TorchRec"] == "row 0"
    assert "idx < num_rows" in found[0]["id outside, ours"]


def test_different_plans_are_refused_on_every_rank(found: list[dict[str, Any]]) -> None:
    assert all("ranks [1] differ from rank 0" in rank["plans that differ"] for rank in found)


def test_one_ranks_failure_is_raised_on_every_rank(found: list[dict[str, Any]]) -> None:
    assert [rank["failure of one rank"] for rank in found] == ["only rank 1 knows"] * 2


def test_unequal_batches_are_refused_on_every_rank(found: list[dict[str, Any]]) -> None:
    assert all("local batch sizes are [4, 3]" in rank["unequal batches"] for rank in found)


def lonely_failure() -> str:
    """Rank 1 raises by itself; rank 0 waits for it in a collective."""
    if dist.get_rank() == 1:
        time.sleep(2)
        return "raised alone"
    try:
        dist.all_reduce(torch.ones(1), async_op=True).wait(timedelta(seconds=1))  # pyright: ignore
    except RuntimeError as error:
        return "timed out" if "imed out" in str(error) else str(error)
    return "went on"


def test_a_rank_that_raises_alone_leaves_the_others_waiting(run_on_ranks: Callable[..., list[Any]]) -> None:
    assert run_on_ranks(2, lonely_failure) == ["timed out", "raised alone"]


def unequal_row_wise_batches() -> str:
    module = tables(*SHAPES)
    sharded = shard(module, plan_on(module, ("row_wise",) * 3), CPU, seed=0)
    try:
        pooled(sharded.module.ebc, batch(rows=4 + dist.get_rank())).sum().backward()  # pyright: ignore
    except (RuntimeError, ValueError) as error:
        return type(error).__name__
    return "went on"


def test_unequal_batches_break_row_wise_tables(run_on_ranks: Callable[..., list[Any]]) -> None:
    assert "went on" not in run_on_ranks(2, unequal_row_wise_batches)
