"""The numbers that judge one set of scores: AUC with its interval, log loss, normalized entropy, calibration.

The formulas and their sources stand in `pipeline.metrics.evaluation`.
"""

import numpy as np
from numpy.typing import ArrayLike

from data.errors import DataError
from pipeline.evaluate_config import LEAST_MEMORY_MIB
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.exact import ExactScores


def summarise(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, float]:
    """auc, auc_se, auc_low, auc_high (95 %), logloss, ne, calibration, num_samples, num_positives of one set of scores.

    `scores`: probabilities, float32 or float64 [N]; `labels`: 0 or 1, any number type [N]; `weights`: positive [N].
    With one class only the auc and ne figures are nan and the others are given. Raises DataError for anything that is
    not a probability, a 0/1 label or a positive weight.
    """
    return evaluate_arrays(scores, labels, weights).summary()


def evaluate_arrays(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Evaluation:
    """The whole Evaluation of scores that lie in memory; arguments and errors as for `summarise`."""
    p, y = np.asarray(scores).reshape(-1), np.asarray(labels).reshape(-1)
    w = None if weights is None else np.asarray(weights).reshape(-1)
    if len(p) != len(y) or (w is not None and len(w) != len(p)):
        count = "no" if w is None else len(w)
        raise DataError(f"found {len(p)} scores, {len(y)} labels and {count} weights: give as many of each")
    dtype = np.float32 if p.dtype == np.float32 else np.float64
    enough_mib = LEAST_MEMORY_MIB + (len(p) * 40 >> 20)  # the rows are in memory already: never spill
    exact = ExactScores(score_dtype=dtype, weighted=w is not None, memory_mib=enough_mib)
    exact.add(p, y, weights=w)
    return exact.evaluate()


def roc_auc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The exact AUC of any finite scores (logits, margins, probabilities) [N]: only their order counts."""
    values = np.asarray(scores, np.float64).reshape(-1)
    if not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise DataError(
            f"{count} of {len(values)} scores are NaN or infinite: they have no rank; look at the loss first"
        )
    _, ranks = np.unique(values, return_inverse=True)
    return evaluate_arrays(ranks / len(values), labels, weights).auc
