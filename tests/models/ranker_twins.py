"""Every ranker trained three times over: unsharded, under several plans, and moved by checkpoints from plan to plan."""

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from models.build import build_ranker
from models.config import CinConfig, CrossConfig, ModelConfig
from models.ranker import Ranker
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import load_training_state, training_state
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.apply import initialise_unsharded, shard
from tests.pipeline.checkpoint_moves import meta_of_step, ranks_here
from tests.sharding_plans.test_guards import plan_for
from tests.sharding_plans.twin_training import SCHEMA, SEED, slice_of_step

NUM_STEPS = 6
# A weight whose gradients nearly cancel moves by lr * g / (|g| + eps): a small eps would show rounding, not errors.
SPARSE = SparseOptimizerConfig(algorithm="adagrad", lr=0.05, eps=1e-3)
DENSE = DenseOptimizerConfig(algorithm="sgd", lr=0.1)
PLANS = {
    "rows": ("row_wise",),
    "mixed": ("table_wise", "data_parallel", "row_wise", "column_wise", "data_parallel"),
    "columns": ("column_wise", "grid_shard", "table_column_wise", "table_row_wise"),
}
TOWER = {"over_arch": (12, 1)}
ARCHES = {**TOWER, "dense_arch": (24, 16)}
RANKERS = {
    "dlrm-dot": ModelConfig(**ARCHES, self_interaction=True, first_order=True),
    "dlrm-cat": ModelConfig(**ARCHES, interaction="cat"),
    "dlrm-projection": ModelConfig(**ARCHES, interaction="projection"),
    "dcn": ModelConfig(ranker="dcn", **TOWER),
    "dcnv2": ModelConfig(ranker="dcnv2", **ARCHES, cross=CrossConfig(rank=4)),
    "wide_and_deep": ModelConfig(ranker="wide_and_deep", **TOWER),
    "deepfm": ModelConfig(ranker="deepfm", **TOWER),
    "xdeepfm": ModelConfig(ranker="xdeepfm", **TOWER, cin=CinConfig(widths=(4, 3))),
    "fm": ModelConfig(ranker="fm"),
    "matrix_factorisation": ModelConfig(ranker="matrix_factorisation", user="t2", item="t0"),
    "neural_cf": ModelConfig(ranker="neural_cf", **TOWER),
    "mlp": ModelConfig(ranker="mlp", **TOWER),
    "logistic_regression": ModelConfig(ranker="logistic_regression"),
}


@dataclass(frozen=True)
class TwinLosses:
    """Losses of a rank's share of each step: under each plan, and moved from the first plan to the second and back."""

    by_plan: dict[str, Tensor]
    moved: Tensor


def train_unsharded(config: ModelConfig) -> tuple[Tensor, float]:
    """Losses over the global batches with torch's own optimizers, and by how much the last one differs from an untrained one."""
    ranker = build_ranker(config, SCHEMA, device="cpu", seed=SEED)
    initialise_unsharded(ranker, SEED)
    untrained = _loss(ranker, NUM_STEPS - 1, 0, 1).item()
    tables = list(ranker.ebc.parameters())
    others = [weight for name, weight in ranker.named_parameters() if not name.startswith("ebc.")]
    optimizers = [
        torch.optim.Adagrad(tables, lr=SPARSE.lr, eps=SPARSE.eps),
        torch.optim.SGD(others, lr=DENSE.lr),
    ]
    losses = []
    for step in range(NUM_STEPS):
        loss = _loss(ranker, step, 0, 1)
        ranker.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), abs(losses[-1].item() - untrained)


def train_sharded(directory: Path) -> dict[str, TwinLosses]:
    """On a rank, every ranker of RANKERS under every plan of PLANS."""
    found = {}
    for name, config in RANKERS.items():
        by_plan = {plan: _Learner(config, types).train(range(NUM_STEPS)) for plan, types in PLANS.items()}
        found[name] = TwinLosses(by_plan, _moved(config, directory / name))
    return found


def _moved(config: ModelConfig, directory: Path) -> Tensor:
    """Two steps by rows, two by columns, two by rows again, a checkpoint between them; the losses of all six."""
    losses = []
    saver = Saver(directory, CheckpointConfig(keep_last=9), ranks_here())
    checkpoint = None
    for first, plan in ((0, "rows"), (2, "columns"), (4, "rows")):
        learner = _Learner(config, PLANS[plan])
        if checkpoint is not None:
            load_training_state(checkpoint, learner.model, learner.optimizer)
        losses.append(learner.train(range(first, first + 2)))
        checkpoint = saver.save(meta_of_step(first + 2), training_state(learner.model, learner.optimizer))
    return torch.cat(losses)


class _Learner:
    """A ranker sharded over the live ranks, its tables under the given sharding types in turn."""

    def __init__(self, config: ModelConfig, types: tuple[str, ...]) -> None:
        ranker = build_ranker(config, SCHEMA, seed=SEED)
        attach_sparse_optimizer(ranker, SPARSE)
        kinds = [kind for _, kind in zip(ranker.ebc.embedding_bags, cycle(types), strict=False)]
        plan = plan_for(ranker, *kinds, num_ranks=dist.get_world_size(), ranks_per_host=dist.get_world_size())
        self.model = shard(ranker, plan, torch.device("cpu"), seed=SEED)
        self.optimizer = build_optimizer(self.model, SPARSE, DENSE)

    def train(self, steps: range) -> Tensor:
        losses = []
        for step in steps:
            self.optimizer.zero_grad()
            loss = _loss(self.model, step, dist.get_rank(), dist.get_world_size())
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)


def _loss(model: Ranker | torch.nn.Module, step: int, rank: int, num_ranks: int) -> Tensor:
    dense, sparse, labels = slice_of_step(step, rank, num_ranks)
    return binary_cross_entropy_with_logits(model(dense, sparse), labels)
