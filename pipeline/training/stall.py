"""How long the val split has shown no gain: what early stopping and cuts of the learning rate go by."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Evaluations without a gain, and the cuts that they led to; checkpoints keep it, so that a resumed run goes on counting."""

    best: float | None = None
    """The last value that counted as a gain."""
    evaluations: int = 0
    """Evaluations since then."""
    since_cut: int = 0
    """Evaluations without a gain since the last cut of the learning rate."""
    cuts: int = 0


NOT_STALLED = Stall()


def after(
    stall: Stall, value: float, *, metric: Literal["auc", "logloss"], min_gain: float, cut_after: int | None
) -> Stall:
    """The stall after one more evaluation. More AUC is a gain, or less log loss, by more than `min_gain`.

    After `cut_after` evaluations without one comes a cut, and counting towards the next cut starts anew.
    """
    if stall.best is None or _gain(stall.best, value, metric) > min_gain:
        return replace(stall, best=value, evaluations=0, since_cut=0)
    since_cut = stall.since_cut + 1
    is_cut = cut_after is not None and since_cut >= cut_after
    return replace(
        stall,
        evaluations=stall.evaluations + 1,
        since_cut=0 if is_cut else since_cut,
        cuts=stall.cuts + is_cut,
    )


def _gain(best: float, value: float, metric: Literal["auc", "logloss"]) -> float:
    return value - best if metric == "auc" else best - value
