"""Two targets, some labels of the second missing, trained unsharded and under several plans on live ranks."""

from itertools import cycle
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from data.batch import Batch
from data.schema import Schema
from models.build import build_ranker
from models.config import ModelConfig
from models.loss_config import LossConfig, TargetLossConfig
from models.training_task import TrainingTask
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import load_training_state, training_state
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.apply import initialise_unsharded, shard
from tests.models.ranker_twins import DENSE, NUM_STEPS, PLANS, SPARSE
from tests.pipeline.checkpoint_moves import meta_of_step, ranks_here
from tests.sharding_plans.test_guards import plan_for
from tests.sharding_plans.twin_training import SCHEMA, SEED, slice_of_step

TARGETS = Schema(dense=SCHEMA.dense, sparse=SCHEMA.sparse, targets=("click", "buy"))
RANKERS = {
    "deepfm": ModelConfig(ranker="deepfm", over_arch=(12, 1)),
    "mlp": ModelConfig(ranker="mlp", first_order=True, over_arch=(12, 1)),
}
LOSS = LossConfig(targets={"buy": TargetLossConfig(weight=0.3, kind="mse", class_weights=(1.0, 2.0))})


def task_of(config: ModelConfig, device: str = "meta") -> TrainingTask:
    return TrainingTask(build_ranker(config, TARGETS, device=device, seed=SEED), LOSS, TARGETS.targets)


def batch_of_step(step: int, rank: int = 0, num_ranks: int = 1) -> Batch:
    """A rank's share; buy is known for every third row, and for none of the first rank's rows of step 1."""
    dense, sparse, labels = slice_of_step(step, rank, num_ranks)
    first_row = rank * len(labels)
    rows = torch.arange(first_row, first_row + len(labels))
    is_known = (rows % 3 == 0) & ((rows >= 16) | (rows.new_tensor(step) != 1))
    buy = torch.where(is_known, (dense[:, 0] > 0).float(), torch.nan)
    return Batch(dense, sparse, torch.stack([labels, buy], dim=1), row_ids=rows)


def train_unsharded(config: ModelConfig) -> tuple[Tensor, float]:
    """Losses over the global batches, and how far the last one is from an untrained model's."""
    task = task_of(config, "cpu")
    initialise_unsharded(task, SEED)
    untrained = task(batch_of_step(NUM_STEPS - 1))[0].item()
    others = [weight for name, weight in task.named_parameters() if not name.startswith("ranker.ebc.")]
    optimizers = [
        torch.optim.Adagrad(task.ranker.ebc.parameters(), lr=SPARSE.lr, eps=SPARSE.eps),
        torch.optim.SGD(others, lr=DENSE.lr),
    ]
    losses = []
    for step in range(NUM_STEPS):
        loss = task(batch_of_step(step))[0]
        task.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), abs(losses[-1].item() - untrained)


def train_sharded(directory: Path) -> dict[str, dict[str, Tensor]]:
    """On a rank: its losses for each ranker under each plan, and moved from plan to plan by checkpoints."""
    found = {}
    for name, config in RANKERS.items():
        found[name] = {plan: train(*_sharded(config, types), range(NUM_STEPS)) for plan, types in PLANS.items()}
        found[name]["moved"] = _moved(config, directory / name)
    return found


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> Tensor:
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = model(batch_of_step(step, dist.get_rank(), dist.get_world_size()))[0]
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def _moved(config: ModelConfig, directory: Path) -> Tensor:
    losses, checkpoint = [], None
    saver = Saver(directory, CheckpointConfig(keep_last=9), ranks_here())
    for first, plan in ((0, "rows"), (2, "columns"), (4, "rows")):
        model, optimizer = _sharded(config, PLANS[plan])
        if checkpoint is not None:
            load_training_state(checkpoint, model, optimizer)
        losses.append(train(model, optimizer, range(first, first + 2)))
        checkpoint = saver.save(meta_of_step(first + 2), training_state(model, optimizer))
    return torch.cat(losses)


def _sharded(config: ModelConfig, types: tuple[str, ...]):
    task = task_of(config)
    attach_sparse_optimizer(task, SPARSE)
    kinds = [kind for _, kind in zip(task.ranker.ebc.embedding_bags, cycle(types), strict=False)]
    plan = plan_for(task, *kinds, num_ranks=dist.get_world_size(), ranks_per_host=dist.get_world_size())
    model = shard(task, plan, torch.device("cpu"), seed=SEED)
    return model, build_optimizer(model, SPARSE, DENSE)
