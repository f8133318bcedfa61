"""A model sharded by a plan on the live ranks, and the steps that it takes: whole ones, and ones cut into parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.batch import Batch
from models.training_task import TrainingTask
from pipeline.config import TrainConfig
from pipeline.measuring.marks import Marks
from pipeline.measuring.parted_step import PartedStep
from pipeline.measuring.traffic import CountedTraffic
from pipeline.ranks import Ranks
from pipeline.training.optimizers import build_optimizer
from sharding_plans.applying.apply import shard
from sharding_plans.applying.held_bytes import allocated_bytes, held_bytes
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import to_sharding_plan


class LivePlan:
    """A model that trains by a plan. `task` is fresh, its tables on the meta device; making one is a collective."""

    def __init__(self, plan: PlanFile, task: nn.Module, config: TrainConfig, ranks: Ranks) -> None:
        sharding_plan = to_sharding_plan(plan, device=ranks.device.type, module=task)
        self.plan, self._ranks = plan, ranks
        self._model = shard(task, sharding_plan, ranks.device, seed=config.training.seed)
        frozen = task.ranker.frozen_tables if isinstance(task, TrainingTask) else ()
        self._optimizer = build_optimizer(self._model, config.optimizer.sparse, config.optimizer.dense, frozen=frozen)
        is_bf16 = config.training.precision == "bf16"
        self._parted = PartedStep(self._model, self._optimizer, ranks.device, is_bf16=is_bf16)
        self._precision: Callable[[], AbstractContextManager] = lambda: torch.autocast(
            ranks.device.type, torch.bfloat16, enabled=is_bf16
        )
        self._marks = Marks(ranks.device)

    def whole_step_ms(self, batch: Batch) -> float:
        """Milliseconds of an ordinary training step on this rank, the ranks starting together; a collective."""
        batch = fresh(batch)
        self._optimizer.zero_grad()
        if dist.get_world_size() > 1:
            dist.barrier()
        self._marks.start()
        with self._precision():
            loss, _ = self._model(batch)
        loss.backward()
        self._optimizer.step()
        self._marks.end("step")
        return self._marks.read()["step"]

    def parts_ms(self, batch: Batch) -> dict[str, float]:
        """Milliseconds of each part of a cut step on this rank; a collective."""
        with self._parted.cut():
            _, parts = self._parted.run(fresh(batch))
        return parts

    def traffic(self, batch: Batch) -> tuple[int, int]:
        """Bytes sent and received in a step; a collective."""
        self._optimizer.zero_grad()
        with CountedTraffic(self._ranks.rank, self._ranks.num_ranks) as traffic:
            loss, _ = self._model(fresh(batch))
            loss.backward()
            self._optimizer.step()
        return traffic.sent, traffic.received

    def held(self) -> tuple[int, int]:
        """Bytes of this rank's tables, and of their optimizer states."""
        held = held_bytes(self._model)
        return held.weights, held.state + allocated_bytes(self._optimizer.data_parallel_states)


def fresh(batch: Batch) -> Batch:
    """The batch without what TorchRec has cached in its ids, as a reader hands it out."""
    ids = batch.sparse
    again = KeyedJaggedTensor(
        keys=ids.keys(), values=ids.values(), weights=ids.weights_or_none(), lengths=ids.lengths()
    )
    return replace(batch, sparse=again)
