"""A rank that is alone asks its tables directly: as by TorchRec's own way, without its wrappers. Training: test_twins.py."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionContext, ShardedEmbeddingBagCollection

from models.build import build_ranker
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.applying.apply import shard
from sharding_plans.planning.constraints import build_constraints
from sharding_plans.planning.planner import live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from tests.sharding_plans.twin_training import MODEL, SCHEMA, SEED, Case, slice_of_step

PLANS = {
    "by table": ("table_wise",) * 4,
    "whole": ("data_parallel",) * 4,
    "mixed": ("table_wise", "data_parallel", "table_wise", "data_parallel"),
    "split": ("row_wise", "column_wise", "table_wise", "data_parallel"),
}


def both_ways(plans: dict[str, tuple[str, ...]]) -> dict[str, tuple[bool, bool, int]]:
    """On a rank alone, by plan: whether names and embeddings equal TorchRec's, whether it was left out, and wrappers."""
    return {name: _both_ways(Case(types, "sgd")) for name, types in plans.items()}


def _both_ways(case: Case) -> tuple[bool, bool, int]:
    sharded = _sharded(case)
    collection: Any = sharded.module.ebc
    ids = slice_of_step(0)[1]
    theirs = ShardedEmbeddingBagCollection.forward(collection, ids)
    contexts: list[EmbeddingBagCollectionContext] = []
    collection.create_context = lambda: contexts.append(EmbeddingBagCollectionContext()) or contexts[-1]
    ours = collection(ids)
    is_equal = ours.keys() == theirs.keys() and torch.equal(ours.values(), theirs.values())
    wrappers = sum(isinstance(each, DistributedDataParallel) for each in [*sharded.modules(), *collection._lookups])
    return is_equal, not contexts, wrappers


def _sharded(case: Case) -> Any:
    model = build_ranker(MODEL, SCHEMA, seed=SEED)
    attach_sparse_optimizer(model, case.sparse)
    constraints = build_constraints(case.plan, model, num_ranks=1)
    sharders: Any = [EveryTypeSharder()]
    plan = make_plan(model, live_topology(1), local_batch_size=32, sharders=sharders, constraints=constraints).plan
    return shard(model, plan, torch.device("cpu"), seed=SEED)


def test_direct_lookups_give_what_torchrec_gives_and_only_split_tables_go_its_way(
    run_on_ranks: Callable[..., list[Any]],
) -> None:
    (found,) = run_on_ranks(1, both_ways, PLANS)

    assert found == {
        "by table": (True, True, 0),
        "whole": (True, True, 0),
        "mixed": (True, True, 0),
        "split": (True, False, 0),
    }
