"""Plans measured against each other: live at once, their steps by turns, so that a disturbance meets all of them."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.distributed as dist
from torch import nn

from data.batch import Batch
from pipeline.config import TrainConfig
from pipeline.measuring.live_plan import LivePlan
from pipeline.ranks import Ranks
from sharding_plans.files.layout import PlanFile
from sharding_plans.measuring.measurement import EMBEDDING_PARTS
from sharding_plans.planning.quiet import quiet_torchrec


@dataclass(frozen=True, kw_only=True)
class PairedTimes:
    """One plan's milliseconds, the median of a round's steps for every round."""

    step_ms: list[float]
    """Whole, uncut steps on the slowest rank."""
    embedding_ms: list[float]
    """The parts that a plan decides, each on its slowest rank, of as many cut steps."""


def paired_steps(
    plans: Mapping[str, PlanFile],
    new_task: Callable[[], nn.Module],
    batches: Sequence[Batch],
    config: TrainConfig,
    ranks: Ranks,
    *,
    num_rounds: int,
    steps_per_round: int,
) -> dict[str, PairedTimes]:
    """By plan: what its steps take, round by round; a collective.

    In a round the plans take their steps by turns, on the same batches, whole ones and ones cut into parts; the plan that goes
    first changes from round to round. Every round shards the models anew and begins by seeing every batch twice: where in
    memory a table happens to lie makes a difference too, and must not count for one plan. A round before the first does not
    count.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in plans}
    for round_ in range(num_rounds + 1):
        order = list(plans) if round_ % 2 else list(plans)[::-1]
        with quiet_torchrec():
            live = {name: LivePlan(plans[name], new_task(), config, ranks) for name in order}
            for each in live.values():
                for batch in batches:
                    _taken(each, batch)
            for step in range(steps_per_round):
                for name in order:
                    times[name].append(_taken(live[name], batches[step % len(batches)]))
        del live
        gc.collect()
    return {name: _by_round(values, steps_per_round) for name, values in times.items()}


def _taken(live: LivePlan, batch: Batch) -> list[float]:
    """Milliseconds of a whole step on this rank, then of each part of a cut one."""
    whole, parts = live.whole_step_ms(batch), live.parts_ms(batch)
    return [whole, *(parts.get(part, 0.0) for part in EMBEDDING_PARTS)]


def _by_round(values: list[list[float]], steps_per_round: int) -> PairedTimes:
    slowest = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    rounds = slowest.view(-1, steps_per_round, slowest.shape[1])[1:]
    return PairedTimes(
        step_ms=[median(each[:, 0].tolist()) for each in rounds],
        embedding_ms=[median(each[:, 1:].sum(dim=1).tolist()) for each in rounds],
    )
