"""Learning rates over the steps: a pure function of the step, so that a resumed run needs no state but its step."""

from collections.abc import Callable
from typing import Any

from pipeline.optimizer_config import ScheduleConfig
from pipeline.training.optimizers import ShardedOptimizer

FLOOR = 1e-7
"""Smallest learning rate of the decay, as in the DLRM reference."""


def scale_at(config: ScheduleConfig, step: int) -> float:
    """The share of the base learning rate at step `step`, counted from 0.

    Linear warm-up ((step + 1) / warmup_steps), hold at 1, then (remaining / decay_steps) ** 2, where the decay has reached
    its floor (0 here) decay_steps after its start: the schedule of the DLRM reference, except that the hold is at the full
    learning rate (the reference stays at the last step of the warm-up, just below).
    """
    count = step + 1
    if count < config.warmup_steps:
        return count / config.warmup_steps
    if config.decay_start_step is None or count < config.decay_start_step:
        return 1.0
    remaining = max(0, config.decay_start_step + config.decay_steps - count)
    return (remaining / config.decay_steps) ** 2


class Schedule:
    """Sets the learning rates of all parameter groups, sparse and dense, each from its own base.

    Call `set_for_step` before the step's `zero_grad`, which hands the rates on to the fused kernels.
    """

    def __init__(self, optimizer: ShardedOptimizer, scale: Callable[[int], float]) -> None:
        self._sparse, self._dense = optimizer.sparse_groups, optimizer.dense_groups
        self._groups = [(group, group["lr"]) for group in (*self._sparse, *self._dense)]
        self._scale = scale
        self.set_for_step(0)

    def set_for_step(self, step: int) -> None:
        """Make the learning rates of step `step`, counted from 0, effective in the next step."""
        self._step = step
        scale = self._scale(step)
        for group, base in self._groups:
            group["lr"] = base * scale if scale == 1.0 else max(min(FLOOR, base), base * scale)

    def learning_rates(self) -> dict[str, float]:
        """The learning rates in force: `sparse` for all tables, `dense` for the rest (0 where there is none)."""
        return {
            name: groups[0]["lr"] if groups else 0.0
            for name, groups in (("sparse", self._sparse), ("dense", self._dense))
        }

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.set_for_step(state["step"])


def build_schedule(optimizer: ShardedOptimizer, config: ScheduleConfig) -> Schedule:
    """The schedule that `config` describes, its learning rates of step 0 already set."""
    return Schedule(optimizer, lambda step: scale_at(config, step))
