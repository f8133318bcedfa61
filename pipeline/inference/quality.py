"""Models judged on the same rows: each one's metrics, and its AUC and log loss against the first one's, paired.

The limits are those of MLPerf Inference's closed division: at least 99 %, or 99.9 %, of the float32 model's AUC. Whether one is
kept is judged by the 95 % interval of the difference, not by its middle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.errors import ConfigError
from data.reading.stored_split import StoredSplit
from data.schema import Schema
from pipeline.inference.scoring import Scorer
from pipeline.inference.work import stored_rows
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.paired import Difference, PairedRows
from pipeline.metrics.summary import evaluate_arrays

LIMITS = (0.99, 0.999)
Verdict = Literal["kept", "broken", "undecided"]
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One model's scores on the rows; differences are this model less the first one."""

    evaluation: Evaluation
    auc: Difference
    logloss: Difference
    largest_move: float
    reference_auc: float

    def verdict(self, limit: float) -> Verdict:
        """Whether the AUC is at least `limit` of the first one's: by both ends of the interval."""
        allowed = (limit - 1) * self.reference_auc
        if self.auc.low >= allowed:
            return "kept"
        return "broken" if self.auc.high < allowed else "undecided"


def check_one_target(schema: Schema, job: str) -> None:
    """ConfigError for a model of several targets, in jobs that know one score for each row."""
    if schema.targets:
        raise ConfigError(
            f"{job} knows one score for each row, but the model has targets {', '.join(schema.targets)}. `shardline predict` "
            "gives the scores of all, which `shardline evaluate` judges one by one; quantize takes given types (--tables int8)."
        )


def judge_models(scorers: Mapping[str, Scorer], data_path: Path, split: str) -> dict[str, Quality]:
    """The quality of each model on the rows of a split; the first is the one that the others are held against."""
    labels, scores = _scores(scorers, data_path, split)
    if labels.all() or not labels.any():
        raise ConfigError(f"All {len(labels):,} rows of {split} have one label: there is no AUC. Take another --split.")
    rows = PairedRows(labels)
    first = next(iter(scores.values()))
    placed, losses = rows.placements(first), rows.losses(first)
    return {
        name: Quality(
            evaluation=evaluate_arrays(each, labels),
            auc=rows.auc_difference(placed, rows.placements(each)),
            logloss=rows.loss_difference(losses, rows.losses(each)),
            largest_move=float(np.abs(each - first).max()),
            reference_auc=rows.auc(placed),
        )
        for name, each in scores.items()
    }


def _scores(scorers: Mapping[str, Scorer], data_path: Path, split: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels, bool [n], and each model's scores, float32 [n]."""
    stored = StoredSplit(data_path, split)
    if not stored.num_rows:
        raise ConfigError(f"{data_path} has no rows in {split}; choose another --split.")
    labels: list[np.ndarray] = []
    scores: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    for start in range(0, stored.num_rows, _ROWS_AT_ONCE):
        table = stored_rows(stored, range(start, min(start + _ROWS_AT_ONCE, stored.num_rows)))
        labels.append(table["label"].to_numpy() == 1)
        for name, scorer in scorers.items():
            scores[name].append(scorer.score_table(table))
    return np.concatenate(labels), {name: np.concatenate(parts) for name, parts in scores.items()}
