"""The training loop: TorchRec's train pipeline driven step by step, with log, evaluations and checkpoints on the way."""

import contextlib
import math
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from data.batch import Batch
from pipeline.allocation import HeapWatch
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.config import TrainConfig, TrainingConfig
from pipeline.profiling.recording import NoProfile, StepProfile
from pipeline.ranks import Ranks
from pipeline.sources import TrainBatches
from pipeline.training.clock import StepClock
from pipeline.training.divergence import divergence
from pipeline.training.heartbeat import Heartbeat, NoHeartbeat
from pipeline.training.row_digest import RowDigest
from pipeline.training.schedules import Schedule
from pipeline.training.seen_steps import SeenSteps
from pipeline.training.stall import after
from pipeline.training.standing import Standing
from pipeline.training.step_by_step import StepByStep
from pipeline.training.step_log import SilentLog, StepLog
from pipeline.training.step_randomness import seed_step
from pipeline.training.train_auc import TrainAuc
from pipeline.training.votes import Verdict, Votes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How training ended: where it stands, the samples per second over its steps, and why it ended."""

    standing: Standing
    samples_per_s: float
    reason: str
    was_asked_to_stop: bool = False

    @property
    def step(self) -> int:
        """The last step done."""
        return self.standing.step


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop calls on the way; both are collectives, called on every rank after the same steps."""

    evaluate: Callable[[], dict[str, float]]
    save_checkpoint: Callable[[Standing], object]
    rows_of_step: Callable[[int], list[int]]
    """This rank's row ids of a step, counted from 0; no collective."""


ASKED_TO_STOP = "stopped by SIGTERM"


def last_step(config: TrainingConfig, batches: TrainBatches) -> int:
    """The number of steps that training comes to: all epochs, or `max_steps` if that is fewer."""
    return min(batches.num_steps, config.max_steps or batches.num_steps)


def _of_first_target(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels [B] of the first target, which has no missing ones, from [B] or [B, T]."""
    return (logits, labels) if labels.dim() == 1 else (logits[:, 0], labels[:, 0])


class Trainer:
    """Trains a sharded task from where it stands, each step on every rank's share of the same global batch."""

    def __init__(
        self,
        *,
        model: DistributedModelParallel,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        batches: TrainBatches,
        config: TrainConfig,
        ranks: Ranks,
        log: StepLog | SilentLog,
        hooks: Hooks,
        standing: Standing,
        asked_to_stop: threading.Event,
        heartbeat: Heartbeat | NoHeartbeat,
        profile: StepProfile | NoProfile,
    ) -> None:
        self._config: TrainingConfig = config.training
        self._checkpoint: CheckpointConfig = config.checkpoint
        self._cut_after = config.schedule.patience if config.schedule.kind == "plateau" else None
        self._ranks, self._log, self._hooks = ranks, log, hooks
        self._model, self._schedule, self._batches = model, schedule, batches
        self._auc = TrainAuc(ranks.device)
        self._clock, self._votes, self._heartbeat = StepClock(), Votes(ranks), heartbeat
        schedule.cuts = standing.stall.cuts
        self._standing, self._rows = standing, RowDigest(standing.seen, ranks.rank)
        self._asked_to_stop, self._profile = asked_to_stop, profile
        self._step = self._first_step = standing.step
        self._last_step = last_step(self._config, batches)
        self._pipeline = self._pipeline_of(optimizer)
        self._training_seconds = 0.0
        self._seen, self._heap = SeenSteps(self._config.log_every_steps, ranks.device), HeapWatch()

    def _pipeline_of(self, optimizer: torch.optim.Optimizer) -> "StepByStep | TrainPipelineSparseDist":
        timed: Any = self._clock.timed_optimizer(optimizer)
        if self._ranks.num_ranks == 1 and self._ranks.device.type == "cpu":
            return StepByStep(timed, self._clock.timed_forward(self._counted_forward, backward_follows=True))
        return TrainPipelineSparseDist(
            self._model,
            timed,
            self._ranks.device,
            execute_all_batches=True,
            pipeline_postproc=True,  # ids that are split before the lookup are fetched ahead too
            custom_model_fwd=self._clock.timed_forward(self._counted_forward),
        )

    def run(self) -> Outcome:
        """Train to the last step, until an evaluation reaches the target AUC, or until any rank is asked to stop."""
        reason = None
        with contextlib.closing(self._clock.timed_batches(self._marked_batches())) as batches:
            self._clock.restart()
            while reason is None and self._step < self._last_step:
                self._one_step(batches)
                reason = self._verdict(self._votes.exchange(self._vote()))
                if self._is_due(self._config.log_every_steps):
                    self._log_training()
                if self._is_due(self._config.eval_every_steps):
                    reason = self._evaluate() or reason
                if self._checkpoint_is_due() and self._step < self._last_step:
                    self._paused(lambda: self._hooks.save_checkpoint(self._standing_now()))
        self._verdict(self._votes.outstanding())
        if self._seen:
            self._log_training()
        self._pipeline.detach()
        return Outcome(
            standing=self._standing_now(),
            samples_per_s=self._samples_per_s(),
            reason=reason or "all steps done",
            was_asked_to_stop=reason == ASKED_TO_STOP,
        )

    def _one_step(self, batches: object) -> None:
        self._heartbeat.note("training", self._step)
        self._schedule.set_for_step(self._step)
        seed_step(self._config.seed, self._step, self._ranks.rank, self._ranks.device)
        with self._profile.step(self._step):
            loss, _ = self._pipeline.progress(batches)  # pyright: ignore[reportArgumentType]
        self._seen.add(self._step, loss)
        self._step += 1
        self._clock.end_step()

    def _counted_forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The model's forward; the rows are counted here, since the pipeline fetches batches that it may never train on."""
        self._rows.add(batch.row_ids)
        with self._autocast():
            loss, (detached, logits) = self._model(batch)
        self._auc.add(*_of_first_target(logits, batch.labels))
        return loss, (detached, logits)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self._config.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self._ranks.device.type, torch.bfloat16)

    def _marked_batches(self) -> Generator[Batch, None, None]:
        with contextlib.closing(iter(self._batches)) as batches:  # pyright: ignore[reportArgumentType]
            while True:
                self._heartbeat.note("reading data")
                batch = next(batches, None)
                self._heartbeat.note("training")
                if batch is None:
                    return
                yield batch

    def _vote(self) -> Verdict:
        """What this rank has noticed. On a GPU losses are looked at when they are logged: reading one would stop the pipeline."""
        is_bad = self._ranks.device.type == "cpu" and not self._seen.last_is_finite()
        return Verdict(stop=self._asked_to_stop.is_set(), bad_loss=is_bad)

    def _verdict(self, verdict: Verdict) -> str | None:
        """Why to stop here, if any rank had a reason; raises where any rank's loss was not finite."""
        if verdict.bad_loss:
            raise divergence(self._model, self._seen, self._hooks.rows_of_step)
        return ASKED_TO_STOP if verdict.stop else None

    def _standing_now(self) -> Standing:
        steps = self._batches.steps_per_epoch
        auc = self._standing.val_auc if self._standing.step == self._step else None
        return replace(self._standing, step=self._step, epoch=self._step // steps, seen=self._rows.seen(), val_auc=auc)

    def _checkpoint_is_due(self) -> bool:
        is_best = self._checkpoint.keep_best and self._standing.best_step == self._step
        return is_best or self._is_due(self._checkpoint.every_steps)

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self._step % every == 0

    def _log_training(self) -> None:
        num_steps = len(self._seen)
        loss = self._mean_loss()
        by_part, seconds_per_step = self._clock.read()
        self._training_seconds += seconds_per_step * num_steps
        resident_bytes = psutil.Process().memory_info().rss
        row = {
            "train/loss": loss,
            **self._auc.take(),
            "lr/sparse": self._schedule.learning_rates()["sparse"],
            "lr/dense": self._schedule.learning_rates()["dense"],
            "perf/samples_per_s": self._config.global_batch_size / seconds_per_step,
            **{f"time/{name}": value for name, value in by_part.items()},
            "memory/rss_gib": resident_bytes / 2**30,
        }
        self._heap.look(resident_bytes)
        self._log.training(self._step, row)

    def _mean_loss(self) -> float:
        """The mean loss since the last log line over all ranks; a collective, so that every rank sees a bad one."""
        mean = self._seen.mean()
        dist.all_reduce(mean)
        loss = mean.item() / self._ranks.num_ranks
        if not math.isfinite(loss):
            raise divergence(self._model, self._seen, self._hooks.rows_of_step)
        self._seen.clear()
        return loss

    def _evaluate(self) -> str | None:
        """Evaluate on the val split, and let the schedule know; why to stop there, if there is a reason."""
        metrics: dict[str, float] = {}
        self._paused(lambda: metrics.update(self._hooks.evaluate()))
        self._log.evaluation(self._step, "val", metrics)
        self._note(metrics)
        target, patience = self._config.stop_at_auc, self._config.patience
        if target is not None and metrics["auc"] >= target:
            return f"val AUC reached {target}"
        if patience is not None and self._standing.stall.evaluations >= patience:
            return f"no gain in val {self._config.watch} over {patience} evaluations"
        return None

    def _note(self, metrics: dict[str, float]) -> None:
        auc, best = metrics["auc"], self._standing.best_auc
        is_best = best is None or auc > best
        better = {"best_auc": auc, "best_step": self._step} if is_best else {}
        watch, min_gain = self._config.watch, self._config.min_gain
        stall = after(self._standing.stall, metrics[watch], metric=watch, min_gain=min_gain, cut_after=self._cut_after)
        self._standing = replace(self._standing, step=self._step, val_auc=auc, stall=stall, **better)
        self._schedule.cuts = stall.cuts

    def _paused(self, do: Callable[[], object]) -> None:
        """Do something between two steps on the plain model, outside the clock; batches in flight are kept."""
        if self._seen:
            self._log_training()
        self._pipeline.detach()
        self._heartbeat.note("evaluating or saving", self._step)
        do()
        self._clock.restart()

    def _samples_per_s(self) -> float:
        steps = self._step - self._first_step
        return steps * self._config.global_batch_size / self._training_seconds if self._training_seconds else 0.0
