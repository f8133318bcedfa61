"""What the AUC doctor looks at: numbers of a run, each optional; a check whose numbers are missing says nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.metrics.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class TableEvidence:
    """One embedding table. Rates are fractions of rows; `is_updated` is None where the weights were not looked at."""

    name: str
    num_ids: int
    """Distinct ids seen in train, missing left out."""
    missing_rate: float
    unmapped_rate: float
    """Train rows that look up row 0: missing and rare."""
    test_unmapped_rate: float | None = None
    """The same on test rows, where they were looked at: unknown ids come in addition."""
    is_updated: bool | None = None

    @property
    def rare_rate(self) -> float:
        """Of the train rows that have an id, those that look up row 0 all the same."""
        present = 1 - self.missing_rate
        return (self.unmapped_rate - self.missing_rate) / present if present > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A run's numbers. `losses`: mean training log loss per line of the log, in order of the steps."""

    evaluation: Evaluation | None = None
    """Metrics on held-out rows."""
    train_base_rate: float | None = None
    losses: Sequence[float] = ()
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """The highest rate in effect, of `sparse` and of `dense`."""
    tables: Sequence[TableEvidence] = ()
    dense_stds: Mapping[str, float] = field(default_factory=dict)
    """Standard deviation of each dense column in train."""
    share_seen_in_train: float | None = None
    """Test rows whose features all occur together in a train row too."""
    num_days: int = 1
    """Raw files that are days."""
    split_by: str = "fraction"
    last_train_row: int | None = None
    first_test_row: int | None = None

    @property
    def train_entropy(self) -> float:
        """Log loss of always predicting the base rate of the train rows, in nats; nan where that is not known."""
        rate = self.train_base_rate
        if rate is None or not 0 < rate < 1:
            return math.nan
        return -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))

    @property
    def first_loss(self) -> float:
        """Mean of the first tenth of the log (at least one line); nan without a log."""
        return _mean(self.losses[: max(len(self.losses) // 10, 1)])

    @property
    def last_loss(self) -> float:
        """Mean of the last fifth of the log (at least one line); nan without a log."""
        return _mean(self.losses[-self._window :])

    @property
    def lowest_loss(self) -> float:
        """The lowest mean of as many lines in a row as `last_loss` is the mean of; nan without a log."""
        starts = range(len(self.losses) - self._window + 1)
        return min((_mean(self.losses[start : start + self._window]) for start in starts), default=math.nan)

    @property
    def loss_noise(self) -> float:
        """Three standard errors of `last_loss`, from the typical step between neighbouring lines of the log.

        A line is the mean over few rows where lines are close together and clicks rare, and then it moves by itself.
        """
        steps = sorted(abs(b - a) for a, b in pairwise(self.losses))
        typical = steps[len(steps) // 2] if steps else 0.0
        return 3 * typical / (0.6745 * math.sqrt(2 * self._window))  # a normal variable's median is 0.6745 deviations

    @property
    def _window(self) -> int:
        return max(len(self.losses) // 5, 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
