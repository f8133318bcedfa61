from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from data.errors import ConfigError
from models.build import build_ranker
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.training.optimizers import ShardedOptimizer, attach_sparse_optimizer, build_optimizer
from pipeline.training.table_optimizer import TableOptimizer
from sharding_plans.applying.apply import shard
from tests.sharding_plans.test_guards import plan_for
from tests.sharding_plans.twin_training import MODEL, NUM_STEPS, SCHEMA, SEED, slice_of_step

CPU = torch.device("cpu")
ADAM = DenseOptimizerConfig(algorithm="adam", lr=0.01, weight_decay=0.1)


def sharded_dlrm(
    types: tuple[str, ...],
    sparse: SparseOptimizerConfig,
    dense: DenseOptimizerConfig,
    ranks_per_host: int | None = None,
) -> tuple[Any, ShardedOptimizer]:
    model = build_ranker(MODEL, SCHEMA, seed=SEED)
    attach_sparse_optimizer(model, sparse)
    num_ranks = dist.get_world_size()
    plan = plan_for(model, *types, num_ranks=num_ranks, ranks_per_host=ranks_per_host or num_ranks)
    sharded = shard(model, plan, CPU, seed=SEED)
    return sharded, build_optimizer(sharded, sparse, dense)


def train(model: Any, optimizer: ShardedOptimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        dense, sparse, labels = slice_of_step(step, dist.get_rank(), dist.get_world_size())
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(dense, sparse), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def first_adamw_step() -> tuple[float, float]:
    """Largest difference of the dense weights from a plain AdamW's: right after building, and after one step."""
    settings = DenseOptimizerConfig(algorithm="adamw", lr=0.01, weight_decay=0.5)
    plain = build_ranker(MODEL, SCHEMA, device="cpu", seed=SEED)
    model, optimizer = sharded_dlrm(("table_wise",) * 4, SparseOptimizerConfig(), settings)
    mine = {name: weight for name, weight in model.named_parameters() if "embedding_bags" not in name}
    theirs = [dict(plain.named_parameters())[name] for name in mine]
    before = max((a - b).abs().max().item() for a, b in zip(mine.values(), theirs, strict=True))
    adamw = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.5, eps=settings.eps)
    train(model, optimizer, range(1))
    for weight, other in zip(mine.values(), theirs, strict=True):
        other.grad = weight.grad
    adamw.step()
    return before, max((a - b).abs().max().item() for a, b in zip(mine.values(), theirs, strict=True))


def test_state_exists_from_the_start_and_has_not_counted_a_step(run_on_ranks: Callable[..., list[Any]]) -> None:
    before, after = run_on_ranks(1, first_adamw_step)[0]

    assert before == 0.0
    assert after < 1e-7


SGD = DenseOptimizerConfig(algorithm="sgd", lr=0.5)
NOT_IN_BACKWARD = {
    "momentum": replace(SGD, momentum=0.5),
    "decay": replace(SGD, weight_decay=0.1),
    "norm": replace(SGD, clip_norm=1.0),
    "value": replace(SGD, clip_value=1.0),
    "adagrad": replace(SGD, algorithm="adagrad"),
}


def gradients_after_backward(dense: DenseOptimizerConfig) -> tuple[int, float]:
    """How many dense weights wait for the optimizer behind a backward pass; the change of the largest in a step."""
    model, optimizer = sharded_dlrm(("table_wise",) * 4, SparseOptimizerConfig(), dense)
    weights = [weight for name, weight in model.named_parameters() if "embedding_bags" not in name]
    before = [weight.detach().clone() for weight in weights]
    values, ids, labels = slice_of_step(0, dist.get_rank(), dist.get_world_size())
    optimizer.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(model(values, ids), labels).backward()
    waiting = sum(weight.grad is not None for weight in weights)
    optimizer.step()
    return waiting, max((now - then).abs().max().item() for now, then in zip(weights, before, strict=True))


def waiting_by_settings() -> dict[str, tuple[int, float]]:
    return {name: gradients_after_backward(dense) for name, dense in {"plain": SGD, **NOT_IN_BACKWARD}.items()}


def test_plain_sgd_of_a_lone_rank_updates_weights_in_the_backward_pass_and_nothing_else_does(
    run_on_ranks: Callable[..., list[Any]],
) -> None:
    (alone,) = run_on_ranks(1, waiting_by_settings)
    (first, _) = run_on_ranks(2, gradients_after_backward, SGD)

    waiting, change = alone.pop("plain")
    assert waiting == 0
    assert change > 0
    num_weights = first[0]
    assert num_weights > 0
    assert {name: found for name, (found, _) in alone.items()} == dict.fromkeys(NOT_IN_BACKWARD, num_weights)


def rates_and_averages() -> tuple[float, float, float]:
    """How far a step moves the first weight, and at half the rate; and how far its average is behind then."""
    model, optimizer = sharded_dlrm(("table_wise",) * 4, SparseOptimizerConfig(), replace(SGD, ema_decay=0.5))
    twin, at_half = sharded_dlrm(("table_wise",) * 4, SparseOptimizerConfig(), SGD)
    for group in at_half.dense_groups:
        group["lr"] *= 0.5
    weights, of_twin = ([w for n, w in each.named_parameters() if "embedding_bags" not in n] for each in (model, twin))
    first = weights[0].detach().clone()
    train(model, optimizer, range(1))
    train(twin, at_half, range(1))
    moved, half, now = (weights[0] - first).norm(), (of_twin[0] - first).norm(), weights[0].detach().clone()
    with optimizer.averaged():
        behind = (weights[0] - now).norm()
    return moved.item(), half.item(), behind.item()


def test_updates_in_the_backward_pass_take_the_steps_rate_and_averages_follow_them(
    run_on_ranks: Callable[..., list[Any]],
) -> None:
    ((moved, half, behind),) = run_on_ranks(1, rates_and_averages)

    assert moved > 0
    assert half == pytest.approx(moved / 2, rel=1e-4)
    assert behind == pytest.approx(moved * 2 / 11, rel=1e-4)  # the first average keeps 2 parts of 11


def accumulators(types: tuple[str, ...]) -> dict[str, set[float]]:
    _, optimizer = sharded_dlrm(types, SparseOptimizerConfig(initial_accumulator=0.25), ADAM)
    found = {}
    for name, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if key.endswith("momentum1"):
                pieces = [piece.tensor for piece in value.local_shards()] if hasattr(value, "local_shards") else [value]
                found[f"{name}/{key}"] = {element for piece in pieces for element in piece.tolist()}
    return found


def test_accumulators_start_where_they_should_under_one_name_in_every_plan(
    run_on_ranks: Callable[..., list[Any]],
) -> None:
    (found,) = run_on_ranks(1, accumulators, ("data_parallel", "row_wise", "table_wise", "table_row_wise"))

    assert found == {f"ebc.embedding_bags.{t}.weight/{t}.momentum1": {0.25} for t in ("t0", "t1", "t2", "t3")}


MOVES = [
    (
        "row_wise_adagrad",
        ("data_parallel", "row_wise", "table_wise", "table_row_wise"),
        ("row_wise", "data_parallel") * 2,
    ),
    ("adagrad", ("column_wise", "data_parallel", "grid_shard", "row_wise"), ("data_parallel", "grid_shard") * 2),
    ("sgd", ("column_wise", "data_parallel", "table_wise", "row_wise"), ("table_wise",) * 4),
]


def losses_with_a_move(directory: Path) -> list[tuple[list[float], list[float]]]:
    """For each of MOVES: losses of ten steps in one go, and with a checkpoint read under the other plan after five."""
    found = []
    half = NUM_STEPS // 2
    for algorithm, first, second in MOVES:
        sparse = SparseOptimizerConfig(algorithm=algorithm, lr=0.1)  # pyright: ignore[reportArgumentType]
        model, optimizer = sharded_dlrm(first, sparse, ADAM)
        losses = train(model, optimizer, range(half))
        save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint_id=directory / algorithm)
        in_one_go = losses + train(model, optimizer, range(half, NUM_STEPS))

        model, optimizer = sharded_dlrm(second, sparse, ADAM)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        load(state, checkpoint_id=directory / algorithm)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        found.append((in_one_go, losses + train(model, optimizer, range(half, NUM_STEPS))))
    return found


def test_a_checkpoint_moves_between_any_two_plans(run_on_ranks: Callable[..., list[Any]], tmp_path: Path) -> None:
    for rank in run_on_ranks(2, losses_with_a_move, tmp_path):
        for in_one_go, moved in rank:
            assert moved == pytest.approx(in_one_go, abs=1e-6)


def one_table(algorithm: Any) -> tuple[nn.Parameter, TableOptimizer]:
    table = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    return table, TableOptimizer({"t": table}, algorithm, lr=0.5, eps=1.0, initial_accumulator=0.0)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        # the gradient is [[3, 4], [0, 0]], twice; eps is 1, lr 0.5; row 1 is not in the batch and must not move
        ("sgd", [[1 - 0.5 * 3 * 2, 2 - 0.5 * 4 * 2], [3, 4]]),
        ("adagrad", [[1 - 0.5 * (3 / 4 + 3 / (18**0.5 + 1)), 2 - 0.5 * (4 / 5 + 4 / (32**0.5 + 1))], [3, 4]]),
        # one accumulator for the row: (9 + 16) / 2 = 12.5, then 25
        (
            "row_wise_adagrad",
            [[1 - 0.5 * (3 / (12.5**0.5 + 1) + 3 / 6), 2 - 0.5 * (4 / (12.5**0.5 + 1) + 4 / 6)], [3, 4]],
        ),
    ],
)
def test_table_optimizer_follows_its_formula(algorithm: str, expected: list[list[float]]) -> None:
    table, optimizer = one_table(algorithm)

    for _ in range(2):
        table.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        optimizer.step()

    torch.testing.assert_close(table.detach(), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, r"optimizer\.sparse\.lr is -1\.0"),
        ({"eps": 0.0}, r"optimizer\.sparse\.eps is 0\.0; it must be above 0"),
        ({"algorithm": "sgd", "initial_accumulator": 0.1}, "but sgd has no accumulator"),
    ],
)
def test_impossible_sparse_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SparseOptimizerConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"betas": (0.9, 1.0)}, r"optimizer\.dense\.betas is \[0\.9, 1\.0\]"),
        ({"algorithm": "adam", "momentum": 0.9}, "momentum is 0.9, but adam has none"),
        ({"algorithm": "adam", "initial_accumulator": 0.1}, "but adam has no accumulator"),
        ({"lr": float("nan")}, r"optimizer\.dense\.lr is nan"),
    ],
)
def test_impossible_dense_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DenseOptimizerConfig(**settings)


@pytest.mark.parametrize("algorithm", ["adagrad", "row_wise_adagrad"])
def test_a_data_parallel_table_in_half_precision_moves_by_the_float32_formula(algorithm):
    # An eps of 1e-8 is 0 in float16: a row without a gradient would be divided 0 by 0.
    table = torch.nn.Parameter(torch.tensor([[1.0, 1.0], [2.0, 4.0]], dtype=torch.float16))
    table.grad = torch.tensor([[0.0, 0.0], [0.5, 0.5]], dtype=torch.float16)
    optimizer = TableOptimizer({"C1": table}, algorithm, lr=0.25, eps=1e-8)
    optimizer.step()
    assert table.tolist() == [[1.0, 1.0], [1.75, 3.75]]
    assert optimizer.state[table]["C1.momentum1"].dtype == torch.float32
