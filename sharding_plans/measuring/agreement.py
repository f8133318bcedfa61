"""How well estimates agree with measurements. Light: no torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Estimates beside measurements of the same plans."""

    num_plans: int
    rank_correlation: float
    """Spearman's: 1 where the estimates put the plans in the measured order."""
    median_error: float
    """Median of the absolute relative errors, estimate over measurement less 1."""
    worst_error: float


def agreement(estimated: Sequence[float], measured: Sequence[float]) -> Agreement:
    """The agreement of two lists of milliseconds, a plan each; nan correlation for fewer than two plans."""
    wrong = [abs(a / b - 1) for a, b in zip(estimated, measured, strict=True) if b > 0]
    return Agreement(
        num_plans=len(measured),
        rank_correlation=spearman(estimated, measured),
        median_error=median(wrong) if wrong else float("nan"),
        worst_error=max(wrong, default=float("nan")),
    )


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's correlation of the ranks; equal values share the mean of their ranks."""
    x, y = _ranks(a), _ranks(b)
    if len(x) < 2:
        return float("nan")
    mean = (len(x) - 1) / 2
    both = sum((p - mean) * (q - mean) for p, q in zip(x, y, strict=True))
    spread = (sum((p - mean) ** 2 for p in x) * sum((q - mean) ** 2 for q in y)) ** 0.5
    return both / spread if spread else float("nan")


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks, start = [0.0] * len(values), 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for i in order[start:stop]:
            ranks[i] = (start + stop - 1) / 2
        start = stop
    return ranks
