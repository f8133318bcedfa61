"""The training loop: TorchRec's train pipeline driven step by step, with log, evaluations and checkpoints on the way."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
import torch.distributed as dist
from torch import Tensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from data.errors import ShardlineError
from pipeline.clock import StepClock
from pipeline.config import TrainingConfig
from pipeline.ranks import Ranks
from pipeline.schedules import Schedule
from pipeline.sources import TrainBatches
from pipeline.step_log import SilentLog, StepLog


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How training ended: the last step done, the samples per second over its steps, and why it ended."""

    step: int
    samples_per_s: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop calls on the way; both are collectives, called on every rank after the same steps."""

    evaluate: Callable[[], dict[str, float]]
    save_checkpoint: Callable[[int], object]


def last_step(config: TrainingConfig, batches: TrainBatches) -> int:
    """The number of steps that training comes to: all epochs, or `max_steps` if that is fewer."""
    return min(batches.num_steps, config.max_steps or batches.num_steps)


class Trainer:
    """Trains a sharded task from `first_step` on, each step on every rank's share of the same global batch."""

    def __init__(
        self,
        *,
        model: DistributedModelParallel,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        batches: TrainBatches,
        config: TrainingConfig,
        ranks: Ranks,
        log: StepLog | SilentLog,
        hooks: Hooks,
        first_step: int = 0,
    ) -> None:
        self._config, self._ranks, self._log, self._hooks = config, ranks, log, hooks
        self._schedule = schedule
        self._clock = StepClock()
        self._step = first_step
        self._first_step = first_step
        self._last_step = last_step(config, batches)
        self._batches = batches
        self._pipeline = TrainPipelineSparseDist(
            model,
            self._clock.timed_optimizer(optimizer),  # pyright: ignore[reportArgumentType]
            ranks.device,
            execute_all_batches=True,
            custom_model_fwd=self._clock.timed_forward(model),
        )
        self._training_seconds = 0.0
        self._losses: list[Tensor] = []

    def run(self) -> Outcome:
        """Train to the last step, or until an evaluation reaches the target AUC."""
        reason = "all steps done"
        with contextlib.closing(self._clock.timed_batches(self._batches)) as batches:
            self._clock.restart()
            while self._step < self._last_step:
                self._one_step(batches)
                if self._is_due(self._config.log_every_steps) or self._step == self._last_step:
                    self._log_training()
                if self._is_due(self._config.checkpoint_every_steps) and self._step < self._last_step:
                    self._paused(lambda: self._hooks.save_checkpoint(self._step))
                if self._is_due(self._config.eval_every_steps) and self._reaches_target():
                    reason = f"val AUC reached {self._config.stop_at_auc}"
                    break
        self._pipeline.detach()
        return Outcome(step=self._step, samples_per_s=self._samples_per_s(), reason=reason)

    def _one_step(self, batches: object) -> None:
        self._schedule.set_for_step(self._step)
        loss, _ = self._pipeline.progress(batches)  # pyright: ignore[reportArgumentType]
        self._losses.append(loss)
        self._step += 1
        self._clock.end_step()

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self._step % every == 0

    def _log_training(self) -> None:
        num_steps = len(self._losses)
        loss = self._mean_loss()
        by_part, seconds_per_step = self._clock.read()
        self._training_seconds += seconds_per_step * num_steps
        row = {
            "train/loss": loss,
            "lr/sparse": self._schedule.learning_rates()["sparse"],
            "lr/dense": self._schedule.learning_rates()["dense"],
            "perf/samples_per_s": self._config.global_batch_size / seconds_per_step,
            **{f"time/{name}": value for name, value in by_part.items()},
            "memory/rss_gib": psutil.Process().memory_info().rss / 2**30,
        }
        self._log.training(self._step, row)

    def _mean_loss(self) -> float:
        """The mean loss since the last log line over all ranks; a collective, so that every rank sees a bad one."""
        mean = torch.stack(self._losses).mean()
        self._losses.clear()
        dist.all_reduce(mean)
        loss = mean.item() / self._ranks.num_ranks
        if not math.isfinite(loss):
            raise ShardlineError(
                f"the training loss is {loss} by step {self._step}: training diverged, and nothing more was saved. "
                "Lower optimizer.sparse.lr and optimizer.dense.lr, or lengthen schedule.warmup_steps."
            )
        return loss

    def _reaches_target(self) -> bool:
        metrics: dict[str, float] = {}
        self._paused(lambda: metrics.update(self._hooks.evaluate()))
        self._log.evaluation(self._step, "val", metrics)
        target = self._config.stop_at_auc
        return target is not None and metrics["auc"] >= target

    def _paused(self, do: Callable[[], object]) -> None:
        """Do something between two steps on the plain model, outside the clock; batches in flight are kept."""
        if self._losses:
            self._log_training()
        self._pipeline.detach()
        do()
        self._clock.restart()

    def _samples_per_s(self) -> float:
        steps = self._step - self._first_step
        return steps * self._config.global_batch_size / self._training_seconds if self._training_seconds else 0.0
