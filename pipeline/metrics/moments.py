"""Count, mean and spread that can be built block by block and merged without cancellation."""

from dataclasses import dataclass

from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Weight, weighted mean and weighted sum of squared deviations of some values.

    Merged by the update of Chan, Golub & LeVeque 1983 ("Algorithms for computing the sample variance"); merging in a fixed
    order gives the same bits every time.
    """

    weight: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0

    @classmethod
    def of(cls, values: NDArray, weights: NDArray) -> "Moments":
        """Moments of float64 `values` [N] with `weights` [N], zero weights allowed."""
        weight = float(weights.sum())
        if weight == 0:
            return cls()
        mean = float((values * weights).sum()) / weight
        return cls(weight, mean, float((weights * (values - mean) ** 2).sum()))

    def merged(self, other: "Moments") -> "Moments":
        weight = self.weight + other.weight
        if self.weight == 0 or other.weight == 0:
            return self if other.weight == 0 else other
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.weight / weight)
        deviation = self.deviation + other.deviation + shift * shift * (self.weight * other.weight / weight)
        return Moments(weight, mean, deviation)

    def around(self, centre: float) -> float:
        """Weighted sum of (value - centre) ** 2."""
        return self.deviation + self.weight * (self.mean - centre) ** 2


NO_MOMENTS = Moments()
