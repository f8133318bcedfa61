"""The numbers that judge one set of scores: AUC with its interval, log loss, normalized entropy, calibration.

Sources, formula by formula:

* AUC: the share of (positive, negative) pairs in which the positive scores higher, ties half (Mann & Whitney 1947,
  "On a test of whether one of two random variables is stochastically larger than the other"). Counted exactly.
* Standard error of the AUC: DeLong, DeLong & Clarke-Pearson 1988 ("Comparing the areas under two or more correlated
  receiver operating characteristic curves") through midranks (Sun & Xu 2014, "Fast implementation of DeLong's
  algorithm"). With weights: the same placements in the linearised variance of a weighted mean.
* Log loss: minus the mean log-likelihood in nats, scores clipped to [eps, 1 - eps] of their dtype as scikit-learn does.
* Normalized entropy: log loss over the entropy of the base rate (He et al. 2014, "Practical lessons from predicting
  clicks on ads at Facebook"); 1.0 is the score of always predicting the base rate, lower is better.
* Calibration: mean predicted over mean observed (same source); 1.0 is right, 1.1 predicts 10 % too much.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import DataError

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def summarise(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, float]:
    """auc, auc_se, auc_low, auc_high (95 %), logloss, ne, calibration, num_samples, num_positives of one set of scores.

    `scores`: probabilities, float32 or float64 [N]; `labels`: 0 or 1, any number type [N]; `weights`: positive [N].
    With one class only the auc and ne figures are nan and the others are given. Raises DataError for anything that is
    not a probability, a 0/1 label or a positive weight.
    """
    p, y, w = _checked(scores, labels, weights)
    result = {**_auc_figures(p, y, w), **_loss_figures(p, y, w)}
    return {**result, "num_samples": float(len(p)), "num_positives": float(np.count_nonzero(y))}


def _checked(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None) -> tuple[NDArray, NDArray, NDArray]:
    p, y = np.asarray(scores).reshape(-1), np.asarray(labels).reshape(-1)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64).reshape(-1)
    p = p if p.dtype in (np.float32, np.float64) else p.astype(np.float64)
    if not len(p) == len(y) == len(w) or len(p) == 0:
        raise DataError(f"found {len(p)} scores, {len(y)} labels, {len(w)} weights: give as many of each, at least one")
    _refuse(~((p >= 0) & (p <= 1)), p, "scores", "a probability in [0, 1]")
    _refuse((y != 0) & (y != 1), y, "labels", "0 or 1")
    _refuse(~((w > 0) & np.isfinite(w)), w, "weights", "a positive finite number")
    return p, y.astype(bool), w


def _refuse(is_bad: NDArray, values: NDArray, what: str, expected: str) -> None:
    if is_bad.any():
        first = int(np.argmax(is_bad))
        count = int(np.count_nonzero(is_bad))
        raise DataError(f"{count} of {len(values)} {what} are not {expected}; the first is {values[first]} at {first}")


def _auc_figures(p: NDArray, y: NDArray, w: NDArray) -> dict[str, float]:
    names = ("auc", "auc_se", "auc_low", "auc_high")
    if y.all() or not y.any():
        return dict.fromkeys(names, float("nan"))
    order = np.argsort(p, kind="stable")
    p, y, w = p[order], y[order], w[order]
    group = np.concatenate([[0], np.cumsum(p[1:] != p[:-1])])
    pos, neg = np.bincount(group, w * y), np.bincount(group, w * ~y)
    negatives_below = np.cumsum(neg) - neg + neg / 2
    positives_above = pos.sum() - np.cumsum(pos) + pos / 2
    auc = float(pos @ negatives_below / (pos.sum() * neg.sum()))
    variance = _mean_variance(negatives_below[group[y]] / neg.sum(), w[y], auc)
    variance += _mean_variance(positives_above[group[~y]] / pos.sum(), w[~y], auc)
    se = float(np.sqrt(variance))
    return dict(zip(names, (auc, se, max(auc - Z_95 * se, 0.0), min(auc + Z_95 * se, 1.0)), strict=True))


def _mean_variance(values: NDArray, w: NDArray, mean: float) -> float:
    """Variance of the weighted mean of `values`: the usual s**2 / n where the weights are equal; nan for one value."""
    n = len(values)
    return float((w**2 @ (values - mean) ** 2) / w.sum() ** 2 * n / (n - 1)) if n > 1 else float("nan")


def _loss_figures(p: NDArray, y: NDArray, w: NDArray) -> dict[str, float]:
    eps = float(np.finfo(p.dtype).eps)
    q = np.clip(p.astype(np.float64), eps, 1 - eps)
    logloss = float(-(w @ np.where(y, np.log(q), np.log1p(-q))) / w.sum())
    rate = float((w @ y) / w.sum())
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)) if 0 < rate < 1 else float("nan")
    predicted = float((w @ p.astype(np.float64)) / w.sum())
    return {"logloss": logloss, "ne": logloss / entropy, "calibration": predicted / rate if rate else float("nan")}
