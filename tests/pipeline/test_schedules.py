from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.errors import ConfigError
from pipeline.optimizer_config import DenseOptimizerConfig, ScheduleConfig, SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from pipeline.training.schedules import build_schedule, scale_at
from sharding_plans.applying.apply import local_pieces, shard
from tests.sharding_plans.planning import tables
from tests.sharding_plans.test_guards import plan_for

FULL = ScheduleConfig(warmup_steps=4, decay_start_step=6, decay_steps=4)
#            warm-up          hold     decay: (4/4)**2, (3/4)**2, (2/4)**2, (1/4)**2, and the floor
SCALES = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5625, 0.25, 0.0625, 0.0)
NUM_STEPS = len(SCALES)
SPARSE_LR, DENSE_LR = 0.5, 0.125


def test_warm_up_hold_and_quadratic_decay() -> None:
    assert [scale_at(FULL, step) for step in range(NUM_STEPS)] == list(SCALES)


def test_without_settings_the_rate_is_constant() -> None:
    assert {scale_at(ScheduleConfig(), step) for step in range(1000)} == {1.0}


class Biased(torch.nn.Module):
    """Three tables of two kinds, fused and data-parallel, and one dense weight; every gradient of its sum is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.ebc = tables(("fused", 2, 4), ("split", 2, 4), ("whole", 2, 4)).ebc
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, sparse: KeyedJaggedTensor) -> torch.Tensor:
        return self.ebc(sparse).values().sum() + self.bias.sum()  # pyright: ignore


def effective_rates(zero_grad_first: bool) -> tuple[dict[str, list[float]], list[dict[str, float]]]:
    """How far row 0 of each table and the bias really moved in each step of SGD, and what the schedule says."""
    model = Biased()
    sparse, dense = (
        SparseOptimizerConfig(algorithm="sgd", lr=SPARSE_LR),
        DenseOptimizerConfig(algorithm="sgd", lr=DENSE_LR),
    )
    attach_sparse_optimizer(model, sparse)
    plan = plan_for(model, "table_wise", "row_wise", "data_parallel", num_ranks=1, ranks_per_host=1)
    sharded = shard(model, plan, torch.device("cpu"), seed=0)
    optimizer = build_optimizer(sharded, sparse, dense)
    schedule = build_schedule(optimizer, FULL)
    ids = KeyedJaggedTensor(
        keys=["fused", "split", "whole"], values=torch.zeros(3).long(), lengths=torch.ones(3).long()
    )
    moved: dict[str, list[float]] = {name: [] for name in sharded.state_dict()}
    said = []
    for step in range(NUM_STEPS):
        schedule.set_for_step(step)
        said.append(schedule.learning_rates())
        before = first_weights(sharded)
        if zero_grad_first:
            optimizer.zero_grad()
        else:
            sharded.zero_grad()
        sharded(ids).backward()
        optimizer.step()
        for name, weight in first_weights(sharded).items():
            moved[name].append(before[name] - weight)
    return moved, said


def first_weights(model: Any) -> dict[str, float]:
    weights = model.state_dict()
    return {
        name: next(iter(local_pieces(weight)))[2][0, 0].item() if weight.dim() == 2 else weight[0].item()
        for name, weight in weights.items()
    }


def test_the_schedule_takes_effect_from_step_0_on_every_kind_of_parameter(
    run_on_ranks: Callable[..., list[Any]],
) -> None:
    ((moved, said),) = run_on_ranks(1, effective_rates, True)

    for name, rates in moved.items():
        base = DENSE_LR if name == "bias" else SPARSE_LR
        assert rates == pytest.approx([max(1e-7, base * scale) for scale in SCALES], abs=1e-6), name
    assert [rates["sparse"] for rates in said] == [max(1e-7, SPARSE_LR * scale) for scale in SCALES]
    assert [rates["dense"] for rates in said] == [max(1e-7, DENSE_LR * scale) for scale in SCALES]


def test_without_zero_grad_the_fused_kernels_lag_one_step_behind(run_on_ranks: Callable[..., list[Any]]) -> None:
    ((moved, _),) = run_on_ranks(1, effective_rates, False)

    late = [1.0, *SCALES[:-1]]  # the constructor's rate first
    assert moved["ebc.embedding_bags.fused.weight"] == pytest.approx([SPARSE_LR * scale for scale in late], abs=1e-6)


def resumed_rates() -> tuple[dict[str, float], dict[str, float]]:
    found = []
    for resume in (False, True):
        model = Biased()
        sparse, dense = SparseOptimizerConfig(algorithm="sgd", lr=0.5), DenseOptimizerConfig(algorithm="sgd", lr=0.1)
        attach_sparse_optimizer(model, sparse)
        plan = plan_for(model, "table_wise", "table_wise", "data_parallel", num_ranks=1, ranks_per_host=1)
        schedule = build_schedule(build_optimizer(shard(model, plan, torch.device("cpu"), seed=0), sparse, dense), FULL)
        if resume:
            schedule.load_state_dict(found[0])
            return found[1], schedule.learning_rates()
        schedule.set_for_step(6)
        found += [schedule.state_dict(), schedule.learning_rates()]
    raise AssertionError


def test_a_resumed_schedule_goes_on_where_it_was(run_on_ranks: Callable[..., list[Any]]) -> None:
    ((before, after),) = run_on_ranks(1, resumed_rates)

    assert before == after == {"sparse": 0.28125, "dense": 0.05625}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"warmup_steps": 7, "decay_start_step": 6, "decay_steps": 4},
            "decay_start_step is 6 but the warm-up lasts 7 steps",
        ),
        ({"warmup_steps": -1}, r"warmup_steps is -1"),
        ({"decay_start_step": 6}, "decay_steps is 0; a decay takes at least 1 step"),
        ({"decay_steps": 6}, r"without a schedule\.decay_start_step"),
    ],
)
def test_impossible_schedules_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig(**settings)
