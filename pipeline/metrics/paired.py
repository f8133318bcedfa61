"""Two sets of scores on the same rows: is one better than the other, by how much, and how sure is that?

Sources: the paired test of AUCs is DeLong, DeLong & Clarke-Pearson 1988; the correction for many comparisons is Holm 1979
("A simple sequentially rejective multiple test procedure"); the paired test of log loss is the z-test of a mean of
differences; the number of rows needed is the sample size of a two-sided z-test at 5 % with a power of 80 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.evaluation import Z_95
from pipeline.metrics.placements import placements

Z_POWER_80 = 0.8416212335729143  # 80 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Difference:
    """A difference of two means on the same rows with its standard error; `value` is the second less the first."""

    value: float
    se: float

    @property
    def low(self) -> float:
        return self.value - Z_95 * self.se

    @property
    def high(self) -> float:
        return self.value + Z_95 * self.se

    @property
    def p_value(self) -> float:
        """Two-sided: the chance of a difference at least this large between equally good models."""
        if self.se == 0:
            return 1.0 if self.value == 0 else 0.0
        return math.erfc(abs(self.value) / self.se / math.sqrt(2))

    def rows_needed(self, num_rows: int) -> float:
        """Rows at which a true difference of this size would be found in four of five tests; inf for no difference."""
        if self.value == 0:
            return math.inf
        return num_rows * ((Z_95 + Z_POWER_80) * self.se / self.value) ** 2


class PairedRows:
    """The rows that all compared runs share: labels bool [N] with both classes, weights float64 [N] or None."""

    def __init__(self, labels: NDArray, weights: NDArray | None = None) -> None:
        self.labels = labels
        self.weights = np.ones(len(labels)) if weights is None else weights
        self._given_weights = weights

    def placements(self, scores: NDArray) -> NDArray:
        """Placement of each row under `scores` [N]: float64 [N]."""
        return placements(scores, self.labels, self._given_weights)

    def auc(self, placed: NDArray) -> float:
        """The AUC behind placements."""
        return float(np.average(placed[self.labels], weights=self.weights[self.labels]))

    def auc_difference(self, first: NDArray, second: NDArray) -> Difference:
        """Paired DeLong: the difference of the AUCs behind two sets of placements [N]."""
        change = second - first
        variance = 0.0
        for chosen in (self.labels, ~self.labels):
            variance += _mean_and_variance(change[chosen], self.weights[chosen])[1]
        value = self.auc(second) - self.auc(first)
        return Difference(value, math.sqrt(variance))

    def losses(self, scores: NDArray) -> NDArray:
        """Log loss of each row, clipped as in `pipeline.metrics.evaluation`: float64 [N]."""
        eps = float(np.finfo(scores.dtype).eps)
        p = np.clip(scores.astype(np.float64), eps, 1 - eps)
        return -np.where(self.labels, np.log(p), np.log1p(-p))

    def loss_difference(self, first: NDArray, second: NDArray) -> Difference:
        """The difference of the mean log losses [N]; below zero means that the second is better."""
        mean, variance = _mean_and_variance(second - first, self.weights)
        return Difference(mean, math.sqrt(variance))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values [K] corrected for being K: below 0.05 they keep the chance of any false alarm below 5 %."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min((len(p_values) - rank) * p_values[at], 1.0))
        corrected[at] = largest
    return corrected


def _mean_and_variance(values: NDArray, weights: NDArray) -> tuple[float, float]:
    """Weighted mean, and its variance: s**2 / n where the weights are equal; nan for a single row."""
    total = weights.sum()
    mean = float(weights @ values / total)
    if len(values) < 2:
        return mean, math.nan
    spread = float(weights**2 @ (values - mean) ** 2) / total**2
    return mean, spread * len(values) / (len(values) - 1)
