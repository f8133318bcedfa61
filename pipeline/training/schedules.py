"""Learning rates over the steps: a function of the step, and with `plateau` of the cuts so far, which checkpoints keep."""

import math
from collections.abc import Callable
from typing import Any

from pipeline.optimizer_config import ScheduleConfig
from pipeline.training.optimizers import ShardedOptimizer

FLOOR = 1e-7
"""Smallest learning rate of the decay, as in the DLRM reference."""


def scale_at(config: ScheduleConfig, step: int, cuts: int = 0) -> float:
    """The share of the base learning rate at step `step`, counted from 0, after `cuts` cuts on plateaus.

    Linear warm-up ((step + 1) / warmup_steps), then by kind. `quadratic` holds at 1, then (remaining / decay_steps) ** 2, where
    the decay has reached its floor (0 here) decay_steps after its start: the schedule of the DLRM reference, except that the
    hold is at the full learning rate (the reference stays at the last step of the warm-up, just below). `cosine` holds, then
    floor + (1 - floor) (1 + cos(pi t)) / 2 for the share t of the decay that is done (Loshchilov and Hutter 2017, one cycle).
    `step` and `plateau`: factor ** cuts, not below the floor.
    """
    count = step + 1
    if count < config.warmup_steps:
        return count / config.warmup_steps
    if config.kind in ("step", "plateau"):
        done = cuts if config.cut_every_steps is None else step // config.cut_every_steps
        return max(config.floor, config.factor**done)
    if config.decay_start_step is None or count < config.decay_start_step:
        return 1.0
    remaining = max(0, config.decay_start_step + config.decay_steps - count) / config.decay_steps
    if config.kind == "cosine":
        return config.floor + (1.0 - config.floor) * (1.0 - math.cos(math.pi * remaining)) / 2.0
    return remaining**2


class Schedule:
    """Sets the learning rates of all parameter groups, sparse and dense, each from its own base.

    Call `set_for_step` before the step's `zero_grad`, which hands the rates on to the fused kernels. `cuts` is the number of
    cuts on plateaus so far, for the caller to count.
    """

    def __init__(self, optimizer: ShardedOptimizer, scale: Callable[[int, int], float]) -> None:
        self._sparse, self._dense = optimizer.sparse_groups, optimizer.dense_groups
        self._groups = [(group, group["lr"]) for group in (*self._sparse, *self._dense)]
        self._scale = scale
        self.cuts = 0
        self.set_for_step(0)

    def set_for_step(self, step: int) -> None:
        """Make the learning rates of step `step`, counted from 0, effective in the next step."""
        self._step = step
        scale = self._scale(step, self.cuts)
        for group, base in self._groups:
            group["lr"] = base * scale if scale == 1.0 else max(min(FLOOR, base), base * scale)

    def learning_rates(self) -> dict[str, float]:
        """The learning rates in force: `sparse` for all tables that learn, `dense` for the rest (0 where there is none)."""
        return {
            name: max((group["lr"] for group in groups), default=0.0)
            for name, groups in (("sparse", self._sparse), ("dense", self._dense))
        }

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "cuts": self.cuts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.cuts = state["cuts"]
        self.set_for_step(state["step"])


def build_schedule(optimizer: ShardedOptimizer, config: ScheduleConfig) -> Schedule:
    """The schedule that `config` describes, its learning rates of step 0 already set."""
    return Schedule(optimizer, lambda step, cuts: scale_at(config, step, cuts))
