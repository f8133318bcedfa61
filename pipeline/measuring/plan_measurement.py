"""Measuring plans on the live ranks: the model is sharded by them and trained for some steps, cut and uncut in turn."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import nn

from data.batch import Batch
from pipeline.config import TrainConfig
from pipeline.measuring.live_plan import LivePlan
from pipeline.measuring.parted_step import WAITING
from pipeline.ranks import Ranks, peak_rss_gib
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import installed_versions
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
    return measure_by_turns({name: plan}, lambda: task, batches, config, ranks, steps, data=data)[0]


def measure_by_turns(
    plans: Mapping[str, PlanFile],
    new_task: Callable[[], nn.Module],
    batches: Sequence[Batch],
    config: TrainConfig,
    ranks: Ranks,
    steps: Steps,
    *,
    data: dict[str, Any],
) -> list[Measurement]:
    """What each plan costs, all of them live at once and taking their steps by turns, so that whatever else the machine does
    meets all of them; a collective. There must be memory for all; a process's peak is that of all."""
    _forget_peak()
    with quiet_torchrec():  # on gloo it warns of collectives' old names at every first call
        live = {name: LivePlan(plan, new_task(), config, ranks) for name, plan in plans.items()}
        times = _timed(live, batches, steps)
        mine = [(times[name], each.traffic(batches[0]), *each.held()) for name, each in live.items()]
    found: list[Any] = [None] * ranks.num_ranks
    dist.all_gather_object(found, (mine, int(peak_rss_gib() * 2**30)))
    del live
    gc.collect()
    by_plan = zip(*([(*each, peak) for each in of_rank] for of_rank, peak in found), strict=True)
    batch_size = config.training.global_batch_size
    return [
        _measurement(plan, name, data, list(by_rank), batch_size)
        for (name, plan), by_rank in zip(plans.items(), by_plan, strict=True)
    ]


def _timed(live: Mapping[str, LivePlan], batches: Sequence[Batch], steps: Steps) -> dict[str, _Times]:
    times = {name: _Times([], [], []) for name in live}
    for step in range(steps.warm + steps.measured):
        for name, each in live.items():
            batch = batches[step % len(batches)]
            whole = each.whole_step_ms(batch) if steps.is_uncut_wanted else 0.0
            parts = each.parts_ms(batch)
            if step >= steps.warm:
                times[name].whole.append(whole)
                times[name].parted.append(sum(parts.values()))
                times[name].parts.append(parts)
    return times


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


def _forget_peak() -> None:
    """Let the system count the process's peak memory anew, where it allows that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
