"""Settings of optimizers and learning rates. Light: the command line reads this before anything heavy is imported."""

import math
from dataclasses import dataclass
from typing import Literal

from data.errors import ConfigError

FusedAlgorithmName = Literal[
    "sgd", "adagrad", "row_wise_adagrad", "adam", "partial_row_wise_adam", "lamb", "partial_row_wise_lamb"
]


@dataclass(frozen=True, kw_only=True)
class SparseOptimizerConfig:
    """How embedding tables are updated: inside the backward pass, by FBGEMM's fused kernels."""

    algorithm: FusedAlgorithmName = "row_wise_adagrad"
    """`row_wise_adagrad` keeps one accumulator per row, `adagrad` one per weight; the Adams and LAMBs run on CUDA only."""
    lr: float = 0.02
    """Learning rate, before the schedule."""
    eps: float = 1e-8
    """Added to the denominator of Adagrad, Adam and LAMB."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the two moments of Adam and LAMB."""
    initial_accumulator: float = 0.0
    """What the accumulators of Adagrad start from."""
    max_gradient: float | None = None
    """Clip each value of the gradient of the loss by a pooled embedding to [-max, max]; none: no clipping."""
    momentum: float = 0.0
    """Only 0: FBGEMM's fused kernels ignore momentum, so any other value is refused."""
    weight_decay: float = 0.0
    """Decay of the rows that a batch touches; on CUDA, not with `sgd` and `adagrad`: refused where it would be ignored."""
    weight_decay_mode: Literal["l2", "decoupled"] = "decoupled"
    """`l2`: through the gradient (`row_wise_adagrad` only); `decoupled`: beside it."""

    def __post_init__(self) -> None:
        _check_not_negative("optimizer.sparse.lr", self.lr)
        _check_positive("optimizer.sparse.eps", self.eps)
        for name in ("initial_accumulator", "momentum", "weight_decay"):
            _check_not_negative(f"optimizer.sparse.{name}", getattr(self, name))
        _check_betas("optimizer.sparse.betas", self.betas)
        if self.max_gradient is not None:
            _check_positive("optimizer.sparse.max_gradient", self.max_gradient)
        if self.initial_accumulator and self.algorithm not in ("adagrad", "row_wise_adagrad"):
            raise ConfigError(
                f"optimizer.sparse.initial_accumulator is {self.initial_accumulator}, but {self.algorithm} has no accumulator."
            )


@dataclass(frozen=True, kw_only=True)
class DenseOptimizerConfig:
    """How everything but the embedding tables is updated."""

    algorithm: Literal["sgd", "adagrad", "adam", "adamw"] = "adam"
    """`adam` decays weights through the gradient, `adamw` beside it."""
    lr: float = 1e-3
    """Learning rate, before the schedule."""
    eps: float = 1e-8
    """Added to the denominator of Adagrad and Adam."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the two moments."""
    momentum: float = 0.0
    """Momentum (`sgd` only)."""
    weight_decay: float = 0.0
    """Weight decay."""
    initial_accumulator: float = 0.0
    """What the accumulators of Adagrad start from."""
    clip_norm: float | None = None
    """Scale the dense gradients down to this norm where theirs, over all weights and all ranks' rows, is larger; none: never."""
    clip_value: float | None = None
    """Clip each dense gradient value to [-value, value], before the norm; none: no clipping."""
    ema_decay: float | None = None
    """Keep a running average of the dense weights, which evaluations score with: each step it keeps this share; none: off."""

    def __post_init__(self) -> None:
        _check_not_negative("optimizer.dense.lr", self.lr)
        _check_positive("optimizer.dense.eps", self.eps)
        for name in ("momentum", "weight_decay", "initial_accumulator"):
            _check_not_negative(f"optimizer.dense.{name}", getattr(self, name))
        _check_betas("optimizer.dense.betas", self.betas)
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise ConfigError(f"optimizer.dense.ema_decay is {self.ema_decay}; expected a rate above 0 and below 1.")
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                _check_positive(f"optimizer.dense.{name}", getattr(self, name))
        if self.momentum and self.algorithm != "sgd":
            raise ConfigError(
                f"optimizer.dense.momentum is {self.momentum}, but {self.algorithm} has none; set it to 0, or take sgd."
            )
        if self.initial_accumulator and self.algorithm != "adagrad":
            raise ConfigError(
                f"optimizer.dense.initial_accumulator is {self.initial_accumulator}, but {self.algorithm} has no accumulator."
            )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How learning rates move: a linear warm-up, and then by `kind`. By default as in the DLRM reference, without decay."""

    kind: Literal["quadratic", "constant", "cosine", "step", "plateau"] = "quadratic"
    """`quadratic`: the reference's decay to 1e-7; `cosine`; `step`: cut every so many steps; `plateau`: cut when val stalls."""
    warmup_steps: int = 0
    """Steps of the warm-up: step k of w runs at k/w of the learning rate."""
    decay_start_step: int | None = None
    """Step at which the decay starts (`quadratic`, `cosine`); none: no decay."""
    decay_steps: int = 0
    """Steps from the start of the decay to its end (`quadratic`, `cosine`)."""
    floor: float = 0.0
    """Share of the learning rate at which `cosine` ends, and below which `step` and `plateau` do not cut."""
    factor: float = 0.1
    """What a cut multiplies the learning rate by (`step`, `plateau`)."""
    cut_every_steps: int | None = None
    """Steps between two cuts (`step` only)."""
    patience: int = 2
    """Evaluations on the val split without a gain before a cut (`plateau` only)."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ConfigError(f"schedule.warmup_steps is {self.warmup_steps}; it must be 0 or more.")
        if not 0.0 <= self.floor < 1.0:
            raise ConfigError(f"schedule.floor is {self.floor}; it is a share, from 0 to below 1.")
        if not 0.0 < self.factor < 1.0:
            raise ConfigError(f"schedule.factor is {self.factor}; a cut multiplies by something above 0 and below 1.")
        if self.patience < 1:
            raise ConfigError(f"schedule.patience is {self.patience}; it must be at least 1.")
        self._check_decay()
        self._check_cuts()

    def _check_decay(self) -> None:
        if self.decay_start_step is None:
            if self.decay_steps:
                raise ConfigError(
                    f"schedule.decay_steps is {self.decay_steps} without a schedule.decay_start_step: set both, or neither."
                )
            if self.kind == "cosine":
                raise ConfigError("schedule.kind is cosine: set schedule.decay_start_step and schedule.decay_steps.")
            return
        if self.kind not in ("quadratic", "cosine"):
            raise ConfigError(
                f"schedule.decay_start_step is set, but schedule.kind {self.kind} has no decay: remove one of them."
            )
        if self.decay_steps < 1:
            raise ConfigError(f"schedule.decay_steps is {self.decay_steps}; a decay takes at least 1 step.")
        if self.decay_start_step < self.warmup_steps:
            raise ConfigError(
                f"schedule.decay_start_step is {self.decay_start_step} but the warm-up lasts {self.warmup_steps} steps: the "
                "decay must not start before the warm-up ends."
            )

    def _check_cuts(self) -> None:
        if (self.kind == "step") != (self.cut_every_steps is not None):
            raise ConfigError("schedule.kind step and schedule.cut_every_steps belong together: set both, or neither.")
        if self.cut_every_steps is not None and self.cut_every_steps < 1:
            raise ConfigError(f"schedule.cut_every_steps is {self.cut_every_steps}; it must be at least 1.")


def _check_betas(key: str, betas: tuple[float, float]) -> None:
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise ConfigError(f"{key} is {list(betas)}; expected two rates from 0 to below 1.")


def _check_not_negative(key: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{key} is {value}; it must be 0 or more.")


def _check_positive(key: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{key} is {value}; it must be above 0.")
