"""Plans made offline, saved, and loaded by real ranks: for every sharding type the unsharded model's losses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.build import build_ranker
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.files.plan_file import save
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy
from sharding_plans.tables.from_model import describe_tables
from sharding_plans.types import SHARDING_TYPES
from tests.sharding_plans.offline_plans import CPU
from tests.sharding_plans.offline_training import train_by_files
from tests.sharding_plans.twin_training import GLOBAL_BATCH, MODEL, SCHEMA, Case, train_unsharded

ALGORITHM = "adagrad"


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_offline_plans_train_like_the_unsharded_model(
    num_ranks: int, run_on_ranks: Callable[..., list[Any]], tmp_path: Path
):
    torch.set_num_threads(1)
    model = build_ranker(MODEL, SCHEMA)
    attach_sparse_optimizer(model, Case(None, ALGORITHM).sparse)
    asked = PlanRequest(
        model=describe_tables(model),
        hardware=replace(CPU, ranks_per_host=2),
        num_ranks=num_ranks,
        global_batch_size=GLOBAL_BATCH,
        strategy=Strategy(name="planner"),
    )
    strategies = {kind: Strategy(name=kind, sharding_types=(kind,), column_shard_width=4) for kind in SHARDING_TYPES}
    strategies["planner"] = asked.strategy
    paths = []
    for name, strategy in strategies.items():
        plan = make_plan_file(asked.change(strategy=strategy))
        assert name == "planner" or {table.sharding_type for table in plan.tables} == {name}
        paths.append(str(save(plan, tmp_path / f"{name}.json")))

    per_rank = run_on_ranks(num_ranks, train_by_files, paths, ALGORITHM, ranks_per_host=2)

    expected = train_unsharded(Case(None, ALGORITHM)).losses
    for index, name in enumerate(strategies):
        losses = torch.stack([rank[index] for rank in per_rank]).mean(dim=0)
        torch.testing.assert_close(losses, expected, rtol=0, atol=1e-6, msg=lambda text, at=name: f"{at}: {text}")
