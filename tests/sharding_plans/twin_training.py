"""The same ten steps twice: unsharded with torch's optimizers, and sharded by a plan on live ranks."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.types import ShardingPlan
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import ModelConfig
from models.ranker import Ranker
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.apply import initialise_unsharded, local_pieces, shard
from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.machines.topology import launched_ranks_per_host
from sharding_plans.planning.constraints import build_constraints
from sharding_plans.planning.planner import live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder

ROWS = {"t0": 3, "t1": 40, "t2": 100, "t3": 33}
NUM_DENSE, GLOBAL_BATCH, NUM_STEPS, SEED = 5, 32, 10, 7
SCHEMA = Schema(
    dense=tuple(f"d{i}" for i in range(NUM_DENSE)),
    sparse=tuple(SparseFeature(name=name, num_embeddings=rows) for name, rows in ROWS.items()),
)
MODEL = ModelConfig(embedding_dim=16, dense_arch=(24, 16), over_arch=(24, 1))
DENSE = DenseOptimizerConfig(algorithm="sgd", lr=0.1)


@dataclass(frozen=True)
class Case:
    """Sharding type per table (in the order of ROWS; none: the planner's choice) and algorithm."""

    types: tuple[str, ...] | None
    algorithm: str

    @property
    def sparse(self) -> SparseOptimizerConfig:
        # A weight whose gradients nearly cancel moves by lr * g / (|g| + eps): a small eps would show rounding, not errors.
        return SparseOptimizerConfig(algorithm=self.algorithm, lr=0.5 if self.algorithm == "sgd" else 0.05, eps=1e-3)  # pyright: ignore[reportArgumentType]

    @property
    def plan(self) -> PlanConfig:
        types = self.types or ()
        return PlanConfig(
            tables={
                name: TableConstraint(sharding_types=(kind,), min_partition=4)  # pyright: ignore[reportArgumentType]
                for name, kind in zip(ROWS, types, strict=False)
            }
        )


@dataclass(frozen=True)
class Trained:
    """Losses of the steps over the global batch, and the final weights by name."""

    losses: Tensor
    weights: dict[str, Tensor]


def rows_of_step(step: int) -> tuple[Tensor, list[list[list[int]]], Tensor]:
    """Dense [B, 5], bags by feature and row (t3 one-hot, the others 0 to 4 ids with repeats), labels [B]."""
    generator = torch.Generator().manual_seed(1000 + step)

    def draw(high: int, size: tuple[int, ...]) -> list[int]:
        return torch.randint(high, size, generator=generator).tolist()

    bags = []
    for name, rows in ROWS.items():
        lengths = [1] * GLOBAL_BATCH if name == "t3" else draw(5, (GLOBAL_BATCH,))
        bags.append([draw(rows, (length,)) for length in lengths])
    dense = torch.randn(GLOBAL_BATCH, NUM_DENSE, generator=generator)
    return dense, bags, torch.randint(2, (GLOBAL_BATCH,), generator=generator).float()


def slice_of_step(step: int, rank: int = 0, num_ranks: int = 1) -> tuple[Tensor, KeyedJaggedTensor, Tensor]:
    """A rank's share of a step's rows."""
    dense, bags, labels = rows_of_step(step)
    local = GLOBAL_BATCH // num_ranks
    mine = slice(rank * local, (rank + 1) * local)
    flat = [bag for feature in bags for bag in feature[mine]]
    values = torch.tensor([id_ for bag in flat for id_ in bag], dtype=torch.int64)
    lengths = torch.tensor([len(bag) for bag in flat], dtype=torch.int32)
    return dense[mine], KeyedJaggedTensor(keys=list(ROWS), values=values, lengths=lengths), labels[mine]


def train_unsharded(case: Case) -> Trained:
    """One process, plain EmbeddingBagCollection, torch's own optimizers (TorchRec's dense one for row-wise Adagrad)."""
    model = build_ranker(MODEL, SCHEMA, device="cpu", seed=SEED)
    initialise_unsharded(model, SEED)
    sparse = case.sparse
    tables = list(model.ebc.parameters())
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("ebc.")]
    optimizers = [
        {
            "sgd": lambda: torch.optim.SGD(tables, lr=sparse.lr),
            "adagrad": lambda: torch.optim.Adagrad(tables, lr=sparse.lr, eps=sparse.eps),
            "row_wise_adagrad": lambda: RowWiseAdagrad(tables, lr=sparse.lr, eps=sparse.eps),
        }[case.algorithm](),
        torch.optim.SGD(others, lr=DENSE.lr),
    ]
    losses = []
    for step in range(NUM_STEPS):
        dense, sparse_ids, labels = slice_of_step(step)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(dense, sparse_ids), labels)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    return Trained(torch.stack(losses), {name: weight.clone() for name, weight in model.state_dict().items()})


def train_cases(cases: list[Case]) -> list[tuple[Tensor, list[tuple[str, slice, slice, Tensor]], list[str]]]:
    """On a rank, for each case: local losses, the pieces of the weights that it holds, and the planned sharding types."""
    return [_train_sharded(case) for case in cases]


def train_by_plan(model: Ranker, plan: ShardingPlan, case: Case) -> tuple[Tensor, DistributedModelParallel]:
    """On a rank: the local losses of the ten steps under a plan, and the sharded model after them."""
    rank, num_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    sharded = shard(model, plan, torch.device("cpu"), seed=SEED)
    optimizer = build_optimizer(sharded, case.sparse, DENSE)
    losses = []
    for step in range(NUM_STEPS):
        dense, sparse_ids, labels = slice_of_step(step, rank, num_ranks)
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(sharded(dense, sparse_ids), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), sharded


def _train_sharded(case: Case) -> tuple[Tensor, list[tuple[str, slice, slice, Tensor]], list[str]]:
    num_ranks = torch.distributed.get_world_size()
    model = build_ranker(MODEL, SCHEMA, seed=SEED)
    attach_sparse_optimizer(model, case.sparse)
    planned = make_plan(
        model,
        live_topology(num_ranks, ranks_per_host=launched_ranks_per_host(num_ranks)),
        local_batch_size=GLOBAL_BATCH // num_ranks,
        sharders=[EveryTypeSharder()],
        constraints=build_constraints(case.plan, model, num_ranks=num_ranks),
    )
    losses, sharded = train_by_plan(model, planned.plan, case)
    types = {option.name: option.sharding_type for option in planned.options}
    return losses, _pieces(sharded.state_dict()), [types[name] for name in ROWS]


def _pieces(weights: dict[str, Tensor]) -> list[tuple[str, slice, slice, Tensor]]:
    whole = slice(None)
    pieces = []
    for name, weight in weights.items():
        if "embedding_bags" not in name:
            pieces.append((name, whole, whole, weight.clone()))
            continue
        for rows, columns, tensor in local_pieces(weight):
            pieces.append((name, slice(*rows), slice(*columns), tensor.clone()))
    return pieces
