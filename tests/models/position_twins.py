"""Position-weighted pooling trained under several plans, and in plain PyTorch, bag by bag, id by id."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from models.build import build_ranker
from models.table_config import TableOverride, TablesConfig
from sharding_plans.applying.apply import initialise_unsharded
from tests.models.ranker_twins import DENSE, NUM_STEPS, PLANS, SPARSE
from tests.models.trick_twins import LISTS, Learner, Trick
from tests.sharding_plans.twin_training import ROWS, SEED, rows_of_step

POSITIONS = {"t0": 2, "t1": 3}
POOLED = Trick(
    TablesConfig(override={name: TableOverride(pooling="position", positions=k) for name, k in POSITIONS.items()}),
    LISTS,
)
_NAME = "compose.groups.{group}.position_weights.{feature}.weight"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Losses of each step; position weights by name and their first gradients."""

    losses: Tensor
    gradients: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)


def train_plain() -> Trained:
    """Every bag a sum over its ids of w[min(position, K - 1)] * row; everything behind it is the ranker's own arch."""
    ranker = build_ranker(POOLED.config, LISTS, device="cpu", seed=SEED)
    initialise_unsharded(ranker, SEED)
    tables = {name: nn.Parameter(bag.weight.detach().clone()) for name, bag in ranker.ebc.embedding_bags.items()}  # pyright: ignore[reportCallIssue]
    weights = {
        _NAME.format(group=group, feature=feature): nn.Parameter(torch.ones(k))
        for group in (0, 1)
        for feature, k in POSITIONS.items()
    }
    dense_part = [*ranker.arch.parameters(), *weights.values()]
    optimizers = [
        torch.optim.Adagrad(list(tables.values()), lr=SPARSE.lr, eps=SPARSE.eps),
        torch.optim.SGD(dense_part, lr=DENSE.lr),
    ]
    losses, gradients = [], {}
    for step in range(NUM_STEPS):
        dense, bags, labels = rows_of_step(step)
        pooled = [_pooled(bags, tables, weights, group, suffix) for group, suffix in ((0, ""), (1, "_first_order"))]
        loss = binary_cross_entropy_with_logits(ranker.arch(dense, pooled), labels)
        for weight in [*tables.values(), *dense_part]:
            weight.grad = None
        loss.backward()
        gradients = gradients or {name: weight.grad.clone() for name, weight in weights.items()}  # pyright: ignore[reportOptionalMemberAccess]
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    return Trained(
        losses=torch.stack(losses),
        gradients=gradients,
        weights={name: weight.detach() for name, weight in weights.items()},
    )


def _pooled(
    bags: list[list[list[int]]], tables: dict[str, nn.Parameter], weights: dict, group: int, suffix: str
) -> Tensor:
    features = []
    for name, of_feature in zip(ROWS, bags, strict=True):
        table = tables[name + suffix]
        weight = weights.get(_NAME.format(group=group, feature=name), torch.ones(1))
        rows = [
            sum(
                (weight[min(i, len(weight) - 1)] * table[id_] for i, id_ in enumerate(bag)), torch.zeros(table.shape[1])
            )
            for bag in of_feature
        ]
        features.append(torch.stack(rows))
    return torch.cat(features, dim=1)


def train_by_plans() -> dict[str, Trained]:
    """On a rank, under every plan of PLANS."""
    found = {}
    for plan, types in PLANS.items():
        learner = Learner(POOLED, types, Path())
        first = learner.train(range(1))
        gradients = {name: weight.grad.clone() for name, weight in _position_weights(learner).items()}  # pyright: ignore[reportOptionalMemberAccess]
        losses = torch.cat([first, learner.train(range(1, NUM_STEPS))])
        weights = {name: weight.detach().clone() for name, weight in _position_weights(learner).items()}
        found[plan] = Trained(losses=losses, gradients=gradients, weights=weights)
    return found


def _position_weights(learner: Learner) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in learner.model.named_parameters() if "position_weights" in name}
