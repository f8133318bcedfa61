"""Training by a plan that was made offline, on ranks that only read the file."""

import torch
from torch import Tensor

from models.build import build_ranker
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.files.plan_conversion import to_sharding_plan
from sharding_plans.files.plan_file import load
from sharding_plans.files.plan_fits import check_fits
from sharding_plans.machines.topology import launched_ranks_per_host
from tests.sharding_plans.twin_training import GLOBAL_BATCH, MODEL, SCHEMA, SEED, Case, train_by_plan


def train_by_files(paths: list[str], algorithm: str) -> list[Tensor]:
    """On a rank, for each plan file: the local losses of ten steps."""
    return [_train(path, Case(None, algorithm)) for path in paths]


def _train(path: str, case: Case) -> Tensor:
    num_ranks = torch.distributed.get_world_size()
    assert GLOBAL_BATCH % num_ranks == 0
    model = build_ranker(MODEL, SCHEMA, seed=SEED)
    attach_sparse_optimizer(model, case.sparse)
    plan = load(path)
    check_fits(plan, model, num_ranks=num_ranks, ranks_per_host=launched_ranks_per_host(num_ranks))
    losses, _ = train_by_plan(model, to_sharding_plan(plan, device="cpu", module=model), case)
    return losses
