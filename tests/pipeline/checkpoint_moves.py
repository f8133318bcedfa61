"""Training that moves by a checkpoint from one plan and number of ranks to another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.meta import CheckpointMeta
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import load_training_state, training_state
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.ranks import Ranks
from pipeline.training.optimizers import ShardedOptimizer
from sharding_plans.applying.apply import local_pieces
from sharding_plans.types import SHARDING_TYPES, SPLITS_COLUMNS
from tests.pipeline.test_optimizers import sharded_dlrm, train

RANKS = (1, 2, 4)
STEPS_BEFORE, STEPS_AFTER = range(3), range(3, 8)
DENSE = DenseOptimizerConfig(algorithm="adam", lr=0.01)
MIXED = {
    "sgd": ("data_parallel", "grid_shard", "table_wise", "row_wise"),
    "adagrad": ("column_wise", "data_parallel", "table_row_wise", "table_column_wise"),
    "row_wise_adagrad": ("data_parallel", "row_wise", "table_wise", "table_row_wise"),
}


@dataclass(frozen=True)
class Place:
    """An algorithm, how all four tables are sharded (or `mixed`), and over how many ranks."""

    algorithm: str
    kind: str
    num_ranks: int

    @property
    def types(self) -> tuple[str, ...]:
        return MIXED[self.algorithm] if self.kind == "mixed" else (self.kind,) * 4

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{self.kind}-{self.num_ranks}"


@dataclass(frozen=True)
class Trained:
    """All weights and optimizer states, whole, by name, and the losses of the next steps over the global batch."""

    state: dict[str, Tensor]
    losses: list[float]


def kinds_of(algorithm: str) -> list[str]:
    """Row-wise Adagrad is not planned by columns: one accumulator per row and column shard would be another algorithm."""
    kinds = [kind for kind in SHARDING_TYPES if algorithm != "row_wise_adagrad" or kind not in SPLITS_COLUMNS]
    return [*kinds, "mixed"]


def save_from(places: list[Place], directory: Path) -> dict[str, Trained]:
    """On a rank: train a little in each place, save, remember the state, and train on."""
    ranks = ranks_here()
    found = {}
    for place in places:
        model, optimizer = model_in(place)
        train(model, optimizer, STEPS_BEFORE)
        saver = Saver(directory / place.name, CheckpointConfig(), ranks)
        saver.save(meta_of_step(len(STEPS_BEFORE)), training_state(model, optimizer))
        state = whole_state(model, optimizer)
        found[place.name] = Trained(state, next_losses(model, optimizer))
    return found


def load_into(moves: list[tuple[Place, Place]], directory: Path) -> list[Trained]:
    """On a rank: for each move, read the checkpoint of the first place in the second, and train on."""
    found = []
    for source, target in moves:
        model, optimizer = model_in(target)
        load_training_state(directory / source.name / "step-00000003", model, optimizer)
        state = whole_state(model, optimizer)
        found.append(Trained(state, next_losses(model, optimizer)))
    return found


def meta_of_step(step: int) -> CheckpointMeta:
    blank: dict[str, Any] = {"config": {}, "plan": {}, "tables": {}, "versions": {}, "num_ranks": 1, "epoch": 0}
    prints = dict.fromkeys(("config_fingerprint", "data_fingerprint", "code_fingerprint", "plan_fingerprint"), "")
    return CheckpointMeta(step=step, rows_digest="", last_step_rows=0, **blank, **prints)


def ranks_here() -> Ranks:
    num_ranks = dist.get_world_size()
    return Ranks(rank=dist.get_rank(), num_ranks=num_ranks, local_num_ranks=num_ranks, device=torch.device("cpu"))


def model_in(place: Place) -> tuple[Any, ShardedOptimizer]:
    lr = 0.5 if place.algorithm == "sgd" else 0.05
    return sharded_dlrm(
        place.types,
        SparseOptimizerConfig(algorithm=place.algorithm, lr=lr, eps=1e-3),  # pyright: ignore[reportArgumentType]
        DENSE,
        ranks_per_host=2 if place.num_ranks > 1 else 1,
    )


def next_losses(model: Any, optimizer: ShardedOptimizer) -> list[float]:
    losses = torch.tensor(train(model, optimizer, STEPS_AFTER), dtype=torch.float64)
    dist.all_reduce(losses)
    return (losses / dist.get_world_size()).tolist()


def whole_state(model: Any, optimizer: ShardedOptimizer) -> dict[str, Tensor]:
    """Every weight and optimizer state, put together from the pieces of all ranks."""
    entries = dict(model.state_dict())
    for parameter, state in optimizer.state_dict()["state"].items():
        entries |= {f"{parameter}/{name}": value for name, value in state.items()}
    mine = {name: _pieces(value) for name, value in entries.items()}
    everyone: list[Any] = [mine] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    names = {name for pieces in everyone for name in pieces}
    return {name: _joined([piece for pieces in everyone for piece in pieces.get(name, [])]) for name in sorted(names)}


def _pieces(value: Any) -> list[tuple[tuple[int, int], tuple[int, int], Tensor]]:
    if not hasattr(value, "local_shards"):
        flat = value.detach().clone()
        return [((0, flat.shape[0] if flat.dim() else 1), (0, -1), flat)]
    if len(value.metadata().size) == 2:
        return [(rows, columns, tensor.clone()) for rows, columns, tensor in local_pieces(value)]
    found = []
    for shard in value.local_shards():
        (offset,), (size,) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
        found.append(((offset, offset + size), (0, -1), shard.tensor.clone()))
    return found


def _joined(pieces: list[tuple[tuple[int, int], tuple[int, int], Tensor]]) -> Tensor:
    if pieces[0][1][1] == -1 and pieces[0][2].dim() != 1:
        return pieces[0][2]
    height, width = max(rows[1] for rows, _, _ in pieces), max(columns[1] for _, columns, _ in pieces)
    whole = torch.full((height,) if width == -1 else (height, width), torch.nan)
    for rows, columns, tensor in pieces:
        if width == -1:
            whole[slice(*rows)] = tensor
        else:
            whole[slice(*rows), slice(*columns)] = tensor
    return whole
