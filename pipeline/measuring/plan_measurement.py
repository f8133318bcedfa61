"""Measuring one plan on the live ranks: the model is sharded by it and trained for some steps, cut and uncut in turn."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torchrec.distributed import DistributedModelParallel
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.batch import Batch
from models.training_task import TrainingTask
from pipeline.config import TrainConfig
from pipeline.measuring.marks import Marks
from pipeline.measuring.parted_step import WAITING, PartedStep
from pipeline.measuring.traffic import CountedTraffic
from pipeline.ranks import Ranks, peak_rss_gib
from pipeline.training.optimizers import ShardedOptimizer, build_optimizer
from sharding_plans.applying.apply import shard
from sharding_plans.applying.held_bytes import allocated_bytes, held_bytes
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import installed_versions, to_sharding_plan
from sharding_plans.machines.identity import machine_facts
from sharding_plans.measuring.measurement import EMBEDDING_PARTS, PARTS, Measurement, RankMeasurement, percentile
from sharding_plans.planning.quiet import quiet_torchrec


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long to measure: so many steps unseen, then so many uncut (if wanted) and as many cut into parts, in turn."""

    warm: int = 5
    measured: int = 20
    is_uncut_wanted: bool = True


@dataclass
class _Times:
    """One rank's milliseconds, a value a step: whole uncut steps, whole cut ones, and the parts of these."""

    whole: list[float]
    parted: list[float]
    parts: list[dict[str, float]]


def measure_plan(
    plan: PlanFile,
    task: nn.Module,
    batches: Sequence[Batch],
    config: TrainConfig,
    ranks: Ranks,
    steps: Steps,
    *,
    name: str,
    data: dict[str, Any],
) -> Measurement:
    """What the plan costs on the live ranks, every rank's figures on every rank; a collective.

    `task` is fresh, its tables on the meta device; `batches` are this rank's, used over and over.
    """
    _forget_peak()
    sharding_plan = to_sharding_plan(plan, device=ranks.device.type, module=task)
    with quiet_torchrec():  # on gloo it warns of collectives' old names at every first call
        model = shard(task, sharding_plan, ranks.device, seed=config.training.seed)
        frozen = task.ranker.frozen_tables if isinstance(task, TrainingTask) else ()
        optimizer = build_optimizer(model, config.optimizer.sparse, config.optimizer.dense, frozen=frozen)
        times = _timed(model, optimizer, batches, ranks.device, steps, is_bf16=config.training.precision == "bf16")
        traffic = _traffic(model, optimizer, batches[0], ranks)
    held = held_bytes(model)
    state = held.state + allocated_bytes(optimizer.data_parallel_states)
    mine = (times, traffic, held.weights, state, int(peak_rss_gib() * 2**30))
    found: list[Any] = [None] * ranks.num_ranks
    dist.all_gather_object(found, mine)
    del model, optimizer
    gc.collect()
    return _measurement(plan, name, data, found, config.training.global_batch_size)


def fresh(batch: Batch) -> Batch:
    """The batch without what TorchRec has cached in its ids, as a reader hands it out."""
    ids = batch.sparse
    again = KeyedJaggedTensor(
        keys=ids.keys(), values=ids.values(), weights=ids.weights_or_none(), lengths=ids.lengths()
    )
    return replace(batch, sparse=again)


def _timed(
    model: DistributedModelParallel,
    optimizer: ShardedOptimizer,
    batches: Sequence[Batch],
    device: torch.device,
    steps: Steps,
    *,
    is_bf16: bool,
) -> _Times:
    parted = PartedStep(model, optimizer, device, is_bf16=is_bf16)
    precision = torch.autocast(device.type, torch.bfloat16, enabled=is_bf16)
    marks, times = Marks(device), _Times([], [], [])
    for step, batch in enumerate(_endless(batches)):
        is_seen = step >= steps.warm
        whole = uncut_step(model, optimizer, fresh(batch), marks, precision) if steps.is_uncut_wanted else 0.0
        with parted.cut():
            _, parts = parted.run(fresh(batch))
        if is_seen:
            times.whole.append(whole)
            times.parted.append(sum(parts.values()))
            times.parts.append(parts)
        if step + 1 == steps.warm + steps.measured:
            return times
    raise AssertionError("there is no end to batches")


def uncut_step(
    model: DistributedModelParallel, optimizer: ShardedOptimizer, batch: Batch, marks: Marks, precision: torch.autocast
) -> float:
    """Milliseconds of an ordinary training step, the ranks starting together."""
    optimizer.zero_grad()
    if dist.get_world_size() > 1:
        dist.barrier()
    marks.start()
    with precision:
        loss, _ = model(batch)
    loss.backward()
    optimizer.step()
    marks.end("step")
    return marks.read()["step"]


def _traffic(
    model: DistributedModelParallel, optimizer: ShardedOptimizer, batch: Batch, ranks: Ranks
) -> tuple[int, int]:
    """Bytes sent and received in one step."""
    optimizer.zero_grad()
    with CountedTraffic(ranks.rank, ranks.num_ranks) as traffic:
        loss, _ = model(fresh(batch))
        loss.backward()
        optimizer.step()
    return traffic.sent, traffic.received


def _measurement(plan: PlanFile, name: str, data: dict[str, Any], found: list[Any], batch_size: int) -> Measurement:
    all_times: list[_Times] = [times for times, *_ in found]
    whole = [max(at_step) for at_step in zip(*(times.whole for times in all_times), strict=True)]
    parted = [max(at_step) for at_step in zip(*(times.parted for times in all_times), strict=True)]
    slowest = {part: _slowest(all_times, part) for part in PARTS}
    embedding = [sum(slowest[part][step] for part in EMBEDDING_PARTS) for step in range(len(whole))]
    types = [table.sharding_type for table in plan.tables]
    return Measurement(
        plan_fingerprint=plan.fingerprint,
        plan_name=name,
        sharding_types={kind: types.count(kind) for kind in dict.fromkeys(types)},
        hardware=machine_facts(),
        versions=dict(installed_versions()),
        model_fingerprint=plan.model.fingerprint,
        global_batch_size=batch_size,
        num_ranks=len(found),
        data=data,
        num_steps=len(whole),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        ranks=tuple(_rank(rank, *mine) for rank, mine in enumerate(found)),
        slowest_ms={part: percentile(values, 50) for part, values in slowest.items()},
        step_p50_ms=percentile(whole, 50),
        step_p90_ms=percentile(whole, 90),
        parted_step_ms=percentile(parted, 50),
        embedding_p10_ms=percentile(embedding, 10),
        embedding_p90_ms=percentile(embedding, 90),
    )


def _slowest(all_times: list[_Times], part: str) -> list[float]:
    """Step by step, the part's time on the rank that took longest."""
    by_rank = ([parts.get(part, 0.0) for parts in times.parts] for times in all_times)
    return [max(at_step) for at_step in zip(*by_rank, strict=True)]


def _rank(rank: int, times: _Times, traffic: tuple[int, int], weights: int, state: int, peak: int) -> RankMeasurement:
    medians = {part: percentile([parts.get(part, 0.0) for parts in times.parts], 50) for part in (*PARTS, WAITING)}
    return RankMeasurement(
        rank=rank,
        step_p50_ms=percentile(times.whole, 50),
        step_p90_ms=percentile(times.whole, 90),
        waiting_ms=medians.pop(WAITING),
        parts_ms=medians,
        sent_bytes=traffic[0],
        received_bytes=traffic[1],
        table_bytes=weights,
        state_bytes=state,
        process_peak_bytes=peak,
    )


def _endless(batches: Sequence[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def _forget_peak() -> None:
    """Let the system count the process's peak memory anew, where it allows that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
