"""Sharded and unsharded twins: for every sharding type, optimizer and number of ranks, the same losses and weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models.build import build_ranker
from sharding_plans.applying.apply import initialise_unsharded
from sharding_plans.types import SHARDING_TYPES, SPLITS_COLUMNS
from tests.sharding_plans.twin_training import MODEL, SCHEMA, SEED, Case, Trained, train_cases, train_unsharded

TOLERANCE = 1e-6
RANKS_PER_HOST = {1: 1, 2: 2, 4: 2}
MIXES = {
    "adagrad": [
        ("data_parallel", "row_wise", "column_wise", "table_row_wise"),
        ("table_wise", "grid_shard", "table_column_wise", "data_parallel"),
    ],
    "sgd": [("grid_shard", "table_row_wise", "row_wise", "column_wise")],
    "row_wise_adagrad": [("data_parallel", "table_wise", "row_wise", "table_row_wise")],
}


def _cases() -> dict[str, Case]:
    cases = {}
    for algorithm, mixes in MIXES.items():
        for kind in SHARDING_TYPES:
            if algorithm != "row_wise_adagrad" or kind not in SPLITS_COLUMNS:
                cases[f"{algorithm}-{kind}"] = Case((kind,) * 4, algorithm)
        for i, mix in enumerate(mixes):
            cases[f"{algorithm}-mix{i}"] = Case(mix, algorithm)
        cases[f"{algorithm}-planner"] = Case(None, algorithm)
    return cases


CASES = _cases()


@pytest.fixture(scope="module")
def unsharded() -> dict[str, Trained]:
    torch.set_num_threads(1)
    return {algorithm: train_unsharded(Case(None, algorithm)) for algorithm in MIXES}


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda ranks: f"{ranks}ranks")
def sharded(
    request: pytest.FixtureRequest, run_on_ranks: Callable[..., list[Any]]
) -> dict[str, tuple[Trained, list[str]]]:
    num_ranks = request.param
    per_rank = run_on_ranks(num_ranks, train_cases, list(CASES.values()), ranks_per_host=RANKS_PER_HOST[num_ranks])
    return {name: _joined([rank[i] for rank in per_rank]) for i, name in enumerate(CASES)}


def _joined(ranks: list[tuple[Tensor, list[tuple[str, slice, slice, Tensor]], list[str]]]) -> tuple[Trained, list[str]]:
    losses = torch.stack([losses for losses, _, _ in ranks]).mean(dim=0)
    weights: dict[str, Tensor] = {}
    for _, pieces, _ in ranks:
        for name, rows, columns, tensor in pieces:
            if rows == slice(None):
                weights[name] = tensor
                continue
            height, width = max(rows.stop, 128), max(columns.stop, 16)
            full = weights.setdefault(name, torch.full((height, width), torch.nan))
            full[rows, columns] = tensor
    return Trained(losses, weights), ranks[0][2]


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_equal_the_unsharded_models(
    name: str, sharded: dict[str, tuple[Trained, list[str]]], unsharded: dict[str, Trained]
) -> None:
    twin, types = sharded[name]
    reference = unsharded[CASES[name].algorithm]

    assert CASES[name].types is None or tuple(types) == CASES[name].types
    torch.testing.assert_close(twin.losses, reference.losses, rtol=0, atol=TOLERANCE)
    for weight, expected in reference.weights.items():
        found = twin.weights[weight]
        found = found[: expected.shape[0]] if "embedding_bags" in weight else found
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE, msg=lambda text, at=weight: f"{at}: {text}")


def test_training_moves_every_table_by_more_than_the_tolerance(unsharded: dict[str, Trained]) -> None:
    start = build_ranker(MODEL, SCHEMA, device="cpu", seed=SEED)
    initialise_unsharded(start, SEED)

    for trained in unsharded.values():
        moved = [(trained.weights[name] - weight).abs().max() for name, weight in start.state_dict().items()]
        assert min(moved) > 1000 * TOLERANCE
