"""Settings of checkpoints. Light: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass
from typing import Literal

from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are saved, and which are kept."""

    every_steps: int | None = None
    """Steps between two checkpoints; none: only at the end, and where the val AUC is the best so far."""
    keep_last: int = 3
    """The newest checkpoints that are kept; older ones are removed once a newer one is whole."""
    keep_best: bool = True
    """Save where an evaluation on the way has the best val AUC so far, and keep that checkpoint too."""
    asynchronous: bool = False
    """Training goes on while a copy of the state, made in memory, is written."""

    def __post_init__(self) -> None:
        for name in ("every_steps", "keep_last"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"checkpoint.{name} is {value}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class CheckpointJobConfig:
    """Look into a checkpoint, check it, lay it out for other ranks, or export it as a plain PyTorch state dict."""

    action: Literal["inspect", "verify", "convert", "export"]
    """What to do: inspect, verify, convert or export."""
    checkpoint: str
    """The checkpoint directory, or a run's directory (its last checkpoint is taken)."""
    out: str | None = None
    """Where to write: a directory of checkpoints (convert), or a file such as model.pt (export)."""
    ranks: int = 1
    """The ranks to lay it out for (convert only)."""
    plan: str | None = None
    """A plan file to lay it out by (convert only); none: the planner's choice."""
    sharding_types: tuple[str, ...] | None = None
    """What the planner may choose from (convert only); none: what the run's settings say."""

    def __post_init__(self) -> None:
        if self.action in ("convert", "export") and self.out is None:
            raise ConfigError(f"checkpoint {self.action} needs --out: where to write.")
        if self.ranks < 1:
            raise ConfigError(f"ranks is {self.ranks}; it must be at least 1.")
        if self.ranks > 1 and self.action != "convert":
            raise ConfigError(f"checkpoint {self.action} runs on one rank; --ranks is for convert.")
