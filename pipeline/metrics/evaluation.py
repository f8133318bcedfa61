"""The metrics of one set of scores, from the merged figures of its blocks.

Sources, formula by formula:

* AUC: the share of (positive, negative) pairs in which the positive scores higher, ties half (Mann & Whitney 1947,
  "On a test of whether one of two random variables is stochastically larger than the other"). Counted exactly.
* Standard error of the AUC: DeLong, DeLong & Clarke-Pearson 1988 ("Comparing the areas under two or more correlated
  receiver operating characteristic curves") through midranks (Sun & Xu 2014, "Fast implementation of DeLong's
  algorithm"). With weights: the same placements in the linearised variance of a weighted mean.
* Log loss: minus the mean log-likelihood in nats, scores clipped to [eps, 1 - eps] of their dtype as scikit-learn does.
* Normalized entropy: log loss over the entropy of the base rate (He et al. 2014, "Practical lessons from predicting
  clicks on ads at Facebook"); 1.0 is the score of always predicting the base rate, lower is better. Its standard error is
  by the delta method: the base rate is estimated from the same rows.
* Calibration: mean predicted over mean observed (same source); 1.0 is right, 1.1 predicts 10 % too much.
* AUPRC: average precision, the sum over scores of (recall gained) x (precision there), without interpolation
  (scikit-learn's `average_precision_score`).
* ECE: expected calibration error over tenths of equal size, the mean of |predicted - observed| weighted by rows
  (Naeini, Cooper & Hauskrecht 2015, with the equal-mass bins of Nguyen & O'Connor 2015).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.figures import Figures
from pipeline.metrics.moments import Moments

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Decile:
    """One tenth of the rows by score (tied rows together): mean predicted and observed rate, with a 95 % Wilson interval."""

    num_rows: int
    predicted: float
    observed: float
    observed_low: float
    observed_high: float


@dataclass(frozen=True)
class Evaluation:
    """Every metric of one set of scores; the same numbers on every rank that took part."""

    figures: Figures

    def summary(self) -> dict[str, float]:
        """auc, auc_se, auc_low, auc_high (95 %), logloss, ne, calibration, num_samples, num_positives."""
        auc, se = self.auc, self.auc_se
        low, high = _interval(auc, se)
        return {
            "auc": auc,
            "auc_se": se,
            "auc_low": max(low, 0.0),
            "auc_high": min(high, 1.0),
            "logloss": self.logloss,
            "ne": self.ne,
            "calibration": _ratio(self.figures.predicted, self.figures.positives),
            "num_samples": float(self.num_rows),
            "num_positives": float(self.figures.num_positives),
        }

    def metrics(self) -> dict[str, float]:
        """The summary, and beside it auprc, ece, base_rate, and standard errors and 95 % intervals of logloss and ne."""
        result = {**self.summary(), "auprc": self.auprc, "ece": self.ece, "base_rate": self.base_rate}
        for name, value, se in (("logloss", self.logloss, self.logloss_se), ("ne", self.ne, self.ne_se)):
            low, high = _interval(value, se)
            result |= {f"{name}_se": se, f"{name}_low": low, f"{name}_high": high}
        return result

    @property
    def num_rows(self) -> int:
        return self.figures.num_positives + self.figures.num_negatives

    @property
    def highest_score(self) -> float:
        """The highest score of all rows."""
        return float(self.figures.curve[0, 2])

    @property
    def lowest_score(self) -> float:
        """The lowest score of all rows."""
        return float(self.figures.curve[-1, 2])

    @property
    def base_rate(self) -> float:
        """Weighted share of positives."""
        return self.figures.positives / self._weight

    @property
    def auc(self) -> float:
        """Share of pairs ranked right, ties half; nan with one class only."""
        return _ratio(self.figures.doubled_pairs, 2 * self.figures.positives * self.figures.negatives)

    @property
    def auc_se(self) -> float:
        """DeLong standard error; nan with fewer than two rows of a class."""
        f = self.figures
        if min(f.num_positives, f.num_negatives) < 2:
            return math.nan
        lost = f.doubled_pairs / 2
        lost = f.positives * f.negatives - lost  # pairs where the negative lies above
        on_positives = _mean_variance(f.positive_ranks, lost / f.positives, f.positives, f.num_positives)
        won_above = f.doubled_pairs / 2 / f.negatives
        on_negatives = _mean_variance(f.negative_ranks, won_above, f.negatives, f.num_negatives)
        return math.sqrt(on_positives / f.negatives**2 + on_negatives / f.positives**2)

    @property
    def logloss(self) -> float:
        """Mean log loss in nats."""
        return (self.figures.positive_loss + self.figures.negative_loss) / self._weight

    @property
    def logloss_se(self) -> float:
        """Standard error of the mean log loss."""
        return self._se_of_loss(scale=1.0, on_positives=0.0, on_negatives=0.0, mean=self.logloss)

    @property
    def ne(self) -> float:
        """Normalized entropy; nan with one class only."""
        return _ratio(self.logloss, self._entropy)

    @property
    def ne_se(self) -> float:
        """Standard error of the normalized entropy, delta method."""
        entropy, rate = self._entropy, self.base_rate
        if not entropy:
            return math.nan
        # One more positive also moves the base rate: d(1/H)/d(rate) = -H'(rate)/H**2, H'(rate) = log((1 - rate)/rate).
        slope = self.logloss / entropy**2 * math.log((1 - rate) / rate)
        shifts = {"on_positives": -slope * (1 - rate), "on_negatives": slope * rate}
        return self._se_of_loss(scale=1 / entropy, **shifts, mean=self.ne)

    @property
    def auprc(self) -> float:
        """Average precision; nan without positives."""
        return _ratio(self.figures.precision, self.figures.positives)

    @property
    def ece(self) -> float:
        """Expected calibration error over tenths of equal size."""
        _, weight, predicted, positives = self.figures.deciles.T
        return float(np.abs(predicted - positives).sum() / weight.sum())

    def deciles(self) -> list[Decile]:
        """Predicted and observed rate by tenth of the rows, lowest scores first; a tenth emptied by ties is left out."""
        return [_decile(*row) for row in self.figures.deciles[::-1].tolist() if row[0]]

    def roc(self) -> NDArray:
        """False and true positive rate, from (0, 0) to (1, 1): float64 [K, 2]; nan with one class only."""
        points = np.concatenate([[[0.0, 0.0]], self.figures.curve[:, :2]])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([points[:, 1] / self.figures.negatives, points[:, 0] / self.figures.positives], axis=1)

    def precision_recall(self) -> NDArray:
        """Recall and precision from the highest score down: float64 [K, 2]."""
        positives, negatives = self.figures.curve[:, 0], self.figures.curve[:, 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([positives / self.figures.positives, positives / (positives + negatives)], axis=1)

    @property
    def _weight(self) -> float:
        return self.figures.positives + self.figures.negatives

    @property
    def _entropy(self) -> float:
        """Entropy of the base rate in nats; 0 with one class only."""
        rate = self.base_rate
        return -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate)) if 0 < rate < 1 else 0.0

    def _se_of_loss(self, *, scale: float, on_positives: float, on_negatives: float, mean: float) -> float:
        """Standard error of the mean of scale * loss + (a shift by class)."""
        f = self.figures
        if self.num_rows < 2:
            return math.nan
        squares = scale**2 * f.positive_losses.around((mean - on_positives) / scale)
        squares += scale**2 * f.negative_losses.around((mean - on_negatives) / scale)
        return math.sqrt(squares * self.num_rows / (self.num_rows - 1)) / self._weight


def _mean_variance(values: Moments, mean: float, weight: float, num_rows: int) -> float:
    """Variance of a weighted mean: s**2 / n where the weights are equal."""
    return values.around(mean) / weight**2 * num_rows / (num_rows - 1)


def _decile(num_rows: float, weight: float, predicted: float, positives: float) -> Decile:
    observed = positives / weight
    low, high = wilson_interval(observed, num_rows)
    return Decile(int(num_rows), predicted / weight, observed, low, high)


def wilson_interval(share: float, num_rows: float) -> tuple[float, float]:
    """95 % interval of an observed share (Wilson 1927, "Probable inference, the law of succession")."""
    shrink = 1 + Z_95**2 / num_rows
    centre = (share + Z_95**2 / (2 * num_rows)) / shrink
    half = Z_95 / shrink * math.sqrt(share * (1 - share) / num_rows + Z_95**2 / (4 * num_rows**2))
    # At a share of 0 or 1 the end of the interval is the share itself, up to rounding.
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def _interval(value: float, se: float) -> tuple[float, float]:
    return value - Z_95 * se, value + Z_95 * se


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
