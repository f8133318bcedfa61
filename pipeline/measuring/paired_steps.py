"""Plans measured against each other: all live at once, their steps by turns, so that a disturbance meets all of them."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torchrec.distributed import DistributedModelParallel

from data.batch import Batch
from pipeline.config import TrainConfig
from pipeline.measuring.marks import Marks
from pipeline.measuring.plan_measurement import fresh, uncut_step
from pipeline.ranks import Ranks
from pipeline.training.optimizers import ShardedOptimizer, build_optimizer
from sharding_plans.applying.apply import shard
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import to_sharding_plan
from sharding_plans.planning.quiet import quiet_torchrec


def paired_steps(
    plans: Mapping[str, PlanFile],
    new_task: Callable[[], nn.Module],
    batches: Sequence[Batch],
    config: TrainConfig,
    ranks: Ranks,
    *,
    num_rounds: int,
    steps_per_round: int,
) -> dict[str, list[float]]:
    """By plan: the median of the slowest rank's milliseconds of a whole step, a value a round; a collective.

    In a round the plans take their steps by turns, on the same batches; the plan that goes first changes from round to round.
    A round before the first is not counted.
    """
    ms: dict[str, list[float]] = {name: [] for name in plans}
    with quiet_torchrec():
        live = {name: _live(plan, new_task(), config, ranks) for name, plan in plans.items()}
        marks = Marks(ranks.device)
        precision = torch.autocast(ranks.device.type, torch.bfloat16, enabled=config.training.precision == "bf16")
        for round_ in range(num_rounds + 1):
            order = list(plans) if round_ % 2 else list(plans)[::-1]
            for step in range(steps_per_round):
                batch = batches[step % len(batches)]
                for name in order:
                    ms[name].append(uncut_step(*live[name], fresh(batch), marks, precision))
    return {name: _by_round(values, steps_per_round) for name, values in ms.items()}


def _live(
    plan: PlanFile, task: nn.Module, config: TrainConfig, ranks: Ranks
) -> tuple[DistributedModelParallel, ShardedOptimizer]:
    sharding_plan = to_sharding_plan(plan, device=ranks.device.type, module=task)
    model = shard(task, sharding_plan, ranks.device, seed=config.training.seed)
    return model, build_optimizer(model, config.optimizer.sparse, config.optimizer.dense)


def _by_round(values: list[float], steps_per_round: int) -> list[float]:
    slowest = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    rounds = slowest.view(-1, steps_per_round)[1:]
    return [median(each) for each in rounds.tolist()]
