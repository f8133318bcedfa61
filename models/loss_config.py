"""What training minimises, as settings. No torch here: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass
from typing import Literal

from data.errors import ConfigError


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
