"""What training minimises, as settings. No torch here: the command line reads this before anything heavy is imported."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TargetLossConfig:
    """What one of several targets has for itself; what is left out is as for all."""

    weight: float = 1.0
    """What its loss is multiplied with in the sum over targets."""
    kind: Literal["bce", "mse"] | None = None
    """`bce` or `mse`."""
    class_weights: tuple[float, float] | None = None
    """Weights of its rows with label 0 and label 1."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < float("inf"):
            raise ConfigError(f"loss.targets.<target>.weight is {self.weight}; expected 0 or more.")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What training minimises, and how logits become the scores of an evaluation."""

    kind: Literal["bce", "mse"] = "bce"
    """`bce`: binary cross entropy; `mse`: squared distance of probability and label."""
    class_weights: tuple[float, float] = (1.0, 1.0)
    """Weights of rows with label 0 and label 1 (the reference's `loss_weights`); the mean is over rows, not over weights."""
    row_weights: bool = True
    """Weigh each row by its own weight, where the data have weights."""
    loss_threshold: float = 0.0
    """Keep probabilities within [threshold, 1 - threshold], in training and in scores, as the DLRM reference does; 0: off."""
    label_smoothing: float = 0.0
    """Share s of each label y that is given to one half: y (1 - s) + s / 2, from 0 to below 1."""
    negatives_kept: float | None = None
    """Share of the negatives that undersampling left in the train split; scores are corrected for it. None: as prepared."""
    targets: dict[str, TargetLossConfig] = field(default_factory=dict)
    """Where the data have several targets: weight, kind and class weights of each, by name; weights are 1 unless given."""

    def __post_init__(self) -> None:
        if len(self.class_weights) != 2 or not all(0.0 <= weight < float("inf") for weight in self.class_weights):
            raise ConfigError(
                f"loss.class_weights is {list(self.class_weights)}; expected two weights, of label 0 and label 1, 0 or more."
            )
        if not any(self.class_weights):
            raise ConfigError("loss.class_weights is [0, 0]: no row would count. Set at least one weight above 0.")
        if not 0.0 <= self.loss_threshold < 0.5:
            raise ConfigError(f"loss.loss_threshold is {self.loss_threshold}; expected 0 (off) to below 0.5.")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(f"loss.label_smoothing is {self.label_smoothing}; it is a share, from 0 to below 1.")
        if self.negatives_kept is not None and not 0.0 < self.negatives_kept <= 1.0:
            raise ConfigError(f"loss.negatives_kept is {self.negatives_kept}; it is a share, above 0 and up to 1.")

    def of_target(self, target: str) -> "LossConfig":
        """The loss of one target, as settings of a single one."""
        own = self.targets.get(target, TargetLossConfig())
        changes = {"kind": own.kind, "class_weights": own.class_weights}
        return replace(self, targets={}, **{name: value for name, value in changes.items() if value is not None})

    def weight_of(self, target: str) -> float:
        """What the target's loss is multiplied with."""
        return self.targets[target].weight if target in self.targets else 1.0

    def check_targets(self, targets: Sequence[str]) -> None:
        """ConfigError where the settings do not go with the data's targets (none: they have but one label)."""
        for name in self.targets:
            if name not in targets:
                near = difflib.get_close_matches(name, targets, n=max(1, len(targets)), cutoff=0.0)
                known = (
                    f"its targets are {', '.join(near)}"
                    if targets
                    else "they have one label; prepare them with several"
                )
                raise ConfigError(f"loss.targets.{name} is no target of the data; {known}.")
        if not targets:
            return
        if not any(self.weight_of(name) for name in targets):
            raise ConfigError("loss.targets gives every target weight 0: nothing would be learned. Set one above 0.")
        if (self.negatives_kept or 1.0) < 1.0:
            raise ConfigError(
                f"loss.negatives_kept is {self.negatives_kept}, but the data have several targets: leaving out negatives of "
                "one biases the others. Train on all rows."
            )
