"""Where a run stands between two steps: what a checkpoint keeps beside weights and optimizer states."""

from dataclasses import dataclass

from pipeline.training.row_digest import NOTHING_SEEN, RowsSeen
from pipeline.training.stall import NOT_STALLED, Stall


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The steps done, the rows they saw, and how good the model was."""

    step: int = 0
    epoch: int = 0
    """Epochs done."""
    seen: RowsSeen = NOTHING_SEEN
    val_auc: float | None = None
    """The val AUC of the weights as they are, where they were evaluated."""
    best_auc: float | None = None
    """The best val AUC of the run so far, and the step that had it."""
    best_step: int | None = None
    stall: Stall = NOT_STALLED
    """How long the val split has shown no gain."""
