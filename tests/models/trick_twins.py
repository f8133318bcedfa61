"""Every table trick trained three times over: unsharded, under several plans, and moved by checkpoints from plan to plan."""

from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import ModelConfig
from models.ranker import Ranker
from models.table_config import MixedDimensionsConfig, QuotientRemainderConfig, TableOverride, TablesConfig
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import load_training_state, training_state
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from pipeline.training.pretrained import load_pretrained
from sharding_plans.applying.apply import initialise_unsharded, local_pieces, shard
from tests.models.ranker_twins import DENSE, NUM_STEPS, PLANS, SPARSE
from tests.pipeline.checkpoint_moves import meta_of_step, ranks_here
from tests.sharding_plans.test_guards import plan_for
from tests.sharding_plans.twin_training import ROWS, SCHEMA, SEED, slice_of_step

LISTS = Schema(
    dense=SCHEMA.dense,
    sparse=tuple(SparseFeature(name=name, num_embeddings=rows, is_list=name != "t3") for name, rows in ROWS.items()),
)
WEIGHTED = replace(LISTS, sparse=tuple(replace(one, weighted=one.name == "t1") for one in LISTS.sparse))
SHARED = replace(
    LISTS,
    sparse=tuple(
        replace(one, num_embeddings=100, table="both") if one.name in ("t1", "t2") else one for one in LISTS.sparse
    ),
)


@dataclass(frozen=True)
class Trick:
    """Settings of the tables, and the data that they need."""

    tables: TablesConfig = field(default_factory=TablesConfig)
    schema: Schema = LISTS

    @property
    def config(self) -> ModelConfig:
        return ModelConfig(ranker="mlp", embedding_dim=16, over_arch=(12, 1), first_order=True, tables=self.tables)


def _split(operation: str, **more: Any) -> Trick:
    trick = QuotientRemainderConfig(operation=operation, collisions=4, threshold=35)  # pyright: ignore[reportArgumentType]
    return Trick(TablesConfig(quotient_remainder=trick, **more))


def _by_position(table: str, schema: Schema, *, quotient_remainder: str = "off", **more: Any) -> Trick:
    pooled = {table: TableOverride(pooling="position", positions=3)}
    return replace(_split(quotient_remainder, override=pooled, **more), schema=schema)


NARROW = MixedDimensionsConfig(temperature=0.4, threshold=35)
FROZEN = {"t0": TableOverride(frozen=True), "t1": TableOverride(frozen=True), "t2": TableOverride(frozen=True)}
TRICKS = {
    "add": _split("add"),
    "mult": _split("mult"),
    "concat": _split("concat"),
    "mixed dimensions": Trick(TablesConfig(mixed_dimensions=NARROW)),
    "both": _split("mult", mixed_dimensions=NARROW),
    "mean": Trick(TablesConfig(pooling="mean", override={"t2": TableOverride(pooling="sum")})),
    "weighted": Trick(schema=WEIGHTED),
    "weighted add": replace(_split("add"), schema=WEIGHTED),
    "shared": Trick(schema=SHARED),
    "position": _by_position("t1", WEIGHTED, quotient_remainder="add", mixed_dimensions=NARROW),
    "position shared": _by_position("both", SHARED),
    "frozen": Trick(TablesConfig(override=FROZEN)),
    "pretrained": Trick(TablesConfig(override={"t1": TableOverride(pretrained="<dir>/t1.npy", width=8)})),
}


@dataclass(frozen=True)
class TwinLosses:
    """A rank's losses under each plan, and moved from plan to plan; for frozen tables, how far any weight of them moved."""

    by_plan: dict[str, Tensor]
    moved: Tensor
    drift: float


def write_pretrained(directory: Path) -> None:
    np.save(directory / "t1.npy", np.random.default_rng(5).normal(size=(ROWS["t1"], 8)).astype(np.float32))


def train_unsharded(trick: Trick, directory: Path) -> tuple[Tensor, float]:
    """Losses over the global batches by autograd and torch's optimizers, and how far the last is from an untrained one's."""
    ranker = build_ranker(trick.config, trick.schema, device="cpu", seed=SEED)
    initialise_unsharded(ranker, SEED)
    load_pretrained(ranker, _files(ranker, directory))
    untrained = _loss(ranker, trick, NUM_STEPS - 1, 0, 1).item()
    tables = [bag.weight for name, bag in ranker.ebc.embedding_bags.items() if name not in ranker.frozen_tables]
    others = [weight for name, weight in ranker.named_parameters() if not name.startswith("ebc.")]
    optimizers = [
        torch.optim.Adagrad(tables, lr=SPARSE.lr, eps=SPARSE.eps),  # pyright: ignore[reportArgumentType]
        torch.optim.SGD(others, lr=DENSE.lr),
    ]
    losses = []
    for step in range(NUM_STEPS):
        loss = _loss(ranker, trick, step, 0, 1)
        ranker.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), abs(losses[-1].item() - untrained)


def train_sharded(directory: Path) -> dict[str, TwinLosses]:
    """On a rank, every trick of TRICKS under every plan of PLANS."""
    found = {}
    for name, trick in TRICKS.items():
        by_plan, drift = {}, 0.0
        for plan, types in PLANS.items():
            learner = Learner(trick, types, directory)
            before = learner.frozen_weights()
            by_plan[plan] = learner.train(range(NUM_STEPS))
            drift += sum((a != b).sum().item() for a, b in zip(before, learner.frozen_weights(), strict=True))
        found[name] = TwinLosses(by_plan, _moved(trick, directory / name, directory), drift)
    return found


def _moved(trick: Trick, checkpoints: Path, directory: Path) -> Tensor:
    """Two steps by rows, two by columns, two by rows again, a checkpoint between them; the losses of all six."""
    losses, checkpoint = [], None
    saver = Saver(checkpoints, CheckpointConfig(keep_last=9), ranks_here())
    for first, plan in ((0, "rows"), (2, "columns"), (4, "rows")):
        learner = Learner(trick, PLANS[plan], directory)
        if checkpoint is not None:
            load_training_state(checkpoint, learner.model, learner.optimizer)
        losses.append(learner.train(range(first, first + 2)))
        checkpoint = saver.save(meta_of_step(first + 2), training_state(learner.model, learner.optimizer))
    return torch.cat(losses)


class Learner:
    """A ranker sharded over the live ranks, its tables under the given sharding types in turn."""

    def __init__(self, trick: Trick, types: tuple[str, ...], directory: Path) -> None:
        self.trick = trick
        ranker = build_ranker(trick.config, trick.schema, seed=SEED)
        self._frozen = ranker.frozen_tables
        attach_sparse_optimizer(ranker, SPARSE, frozen=self._frozen)
        kinds = [kind for _, kind in zip(ranker.ebc.embedding_bags, cycle(types), strict=False)]
        plan = plan_for(ranker, *kinds, num_ranks=dist.get_world_size(), ranks_per_host=dist.get_world_size())
        files = _files(ranker, directory)
        self.model = shard(ranker, plan, torch.device("cpu"), seed=SEED)
        load_pretrained(self.model, files)
        self.optimizer = build_optimizer(self.model, SPARSE, DENSE, frozen=self._frozen)

    def train(self, steps: range) -> Tensor:
        losses = []
        for step in steps:
            self.optimizer.zero_grad()
            loss = _loss(self.model, self.trick, step, dist.get_rank(), dist.get_world_size())
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def frozen_weights(self) -> list[Tensor]:
        weights = self.model.state_dict()
        names = [name for name in weights if name.split(".")[-2] in self._frozen]
        return [piece.clone() for name in names for _, _, piece in local_pieces(weights[name])]


def _files(ranker: Ranker, directory: Path) -> dict[str, str]:
    return {table: path.replace("<dir>", str(directory)) for table, path in ranker.pretrained_tables.items()}


def rows_of(trick: Trick, step: int, rank: int = 0, num_ranks: int = 1) -> tuple[Tensor, KeyedJaggedTensor, Tensor]:
    """A rank's rows of a step: dense features, ids, with weights where the trick's schema has them, and labels."""
    dense, sparse, labels = slice_of_step(step, rank, num_ranks)
    if trick.schema.is_weighted:
        weights = 0.5 + (sparse.values() % 3).float()
        sparse = KeyedJaggedTensor(sparse.keys(), sparse.values(), weights=weights, lengths=sparse.lengths())
    return dense, sparse, labels


def _loss(model: nn.Module, trick: Trick, step: int, rank: int, num_ranks: int) -> Tensor:
    dense, sparse, labels = rows_of(trick, step, rank, num_ranks)
    return binary_cross_entropy_with_logits(model(dense, sparse), labels)
