"""Rows that cannot be scored: counted by kind with the first example, refused once all rows were seen."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError

EXPECTED = {
    "NaN score": "scores are probabilities: look for a diverged loss or a 0/0 in the features",
    "infinite score": "scores are probabilities: look for an overflow in the model",
    "score outside [0, 1]": "scores are probabilities: pass logits through a sigmoid first",
    "label that is neither 0 nor 1": "labels are 0 or 1: check which column is the label",
    "weight that is not a positive finite number": "drop rows that should not count, and correct the others",
    "negative row id": "row ids are counted from 0",
    "duplicate row id": "every row counts once: remove the copies, or leave the row ids out",
}


@dataclass
class BadRows:
    """How many rows of each kind of mistake, and the first example of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, count: int, example: str) -> None:
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.examples.setdefault(kind, example)

    def check(self, kind: str, is_bad: NDArray, values: NDArray, where: NDArray, place: str = "row") -> None:
        """Adds the rows that are marked in `is_bad` [N]; `where` [N] says where a value is found, as "`place` n"."""
        if is_bad.any():
            first = int(np.argmax(is_bad))
            self.add(kind, int(np.count_nonzero(is_bad)), f"{values[first]} at {place} {where[first]}")

    def merged(self, others: list["BadRows"]) -> "BadRows":
        """This and `others` together, in that order."""
        result = BadRows()
        for bad in [self, *others]:
            for kind, count in bad.counts.items():
                result.add(kind, count, bad.examples[kind])
        return result

    def refuse(self, num_rows: int, source: str) -> None:
        """Raises DataError with every count and first example, and what to do, if there are any."""
        if not self.counts:
            return
        lines = [
            f"  {count:,} x {kind} (the first: {self.examples[kind]}); {EXPECTED[kind]}"
            for kind, count in sorted(self.counts.items(), key=lambda item: -item[1])
        ]
        raise DataError(f"{source} cannot be evaluated: of {num_rows:,} rows\n" + "\n".join(lines))


def check_rows(bad: BadRows, scores: NDArray, labels: NDArray, weights: NDArray | None, where: NDArray) -> NDArray:
    """Which rows are sound, bool [N]; the others are added to `bad`."""
    if _all_sound(scores, labels, weights):
        return np.ones(len(scores), bool)
    is_nan, is_infinite = np.isnan(scores), np.isinf(scores)
    is_outside = ~is_nan & ~is_infinite & ~((scores >= 0) & (scores <= 1))
    bad_label = ~((labels == 0) | (labels == 1))
    bad.check("NaN score", is_nan, scores, where)
    bad.check("infinite score", is_infinite, scores, where)
    bad.check("score outside [0, 1]", is_outside, scores, where)
    bad.check("label that is neither 0 nor 1", bad_label, labels, where)
    is_bad = is_nan | is_infinite | is_outside | bad_label
    if weights is not None:
        bad_weight = ~((weights > 0) & np.isfinite(weights))
        bad.check("weight that is not a positive finite number", bad_weight, weights, where)
        is_bad |= bad_weight
    return ~is_bad


def _all_sound(scores: NDArray, labels: NDArray, weights: NDArray | None) -> bool:
    """A quick look that takes no memory of its own: comparisons with NaN are false."""
    if len(scores) == 0:
        return True
    sound = bool(scores.min() >= 0 and scores.max() <= 1)
    sound &= labels.dtype == bool or bool(((labels == 0) | (labels == 1)).all())
    return sound and (weights is None or bool(weights.min() > 0 and weights.max() < np.inf))
