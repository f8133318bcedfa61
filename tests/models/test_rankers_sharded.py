"""Every ranker sharded: under three plans on two ranks, and moved between plans by checkpoints, it learns as if unsharded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.registry import RANKERS as REGISTRY
from tests.models.ranker_twins import PLANS, RANKERS, TwinLosses, train_sharded, train_unsharded

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def sharded(
    run_on_ranks: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, TwinLosses]]:
    """Each rank's losses, by ranker."""
    return run_on_ranks(2, train_sharded, tmp_path_factory.mktemp("rankers"))


@pytest.mark.parametrize("name", RANKERS)
def test_losses_equal_the_unsharded_rankers_under_every_plan_and_after_moving_there_and_back(
    name: str, sharded: list[dict[str, TwinLosses]]
) -> None:
    torch.set_num_threads(1)
    expected, learned = train_unsharded(RANKERS[name])
    ranks = [rank[name] for rank in sharded]

    assert learned > 1000 * TOLERANCE
    for plan in PLANS:
        losses = torch.stack([rank.by_plan[plan] for rank in ranks]).mean(dim=0)
        torch.testing.assert_close(losses, expected, rtol=0, atol=TOLERANCE, msg=lambda text, at=plan: f"{at}: {text}")
    moved = torch.stack([rank.moved for rank in ranks]).mean(dim=0)
    torch.testing.assert_close(moved, expected, rtol=0, atol=TOLERANCE, msg=lambda text: f"moved: {text}")


def test_every_ranker_of_the_registry_is_here() -> None:
    assert {config.ranker for config in RANKERS.values()} == set(REGISTRY)
