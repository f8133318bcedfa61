"""Causes that lie in labels and scores: what was evaluated, and against which labels."""

import math

from pipeline.auc_doctor.evidence import Evidence
from pipeline.auc_doctor.findings import Finding

LEAKED_AUC = 0.99
LEARNED = 0.97  # a training loss below this share of the entropy has learned more than the base rate
NEAR_CHANCE = 0.02
STEADY = 0.1  # a loss that moves by more than this share of the entropy by itself is compared with nothing
KNOWN_WELL = 0.035  # half an interval; an AUC that is known worse proves nothing about labels
KNOWN_ENOUGH = 0.045  # the same where the scores' own claims are refuted too
SURE = 3.3  # standard errors: one shuffle in a thousand lies farther from chance


def constant_labels(run: Evidence) -> Finding | None:
    """All labels of the train or of the held-out rows are one and the same."""
    held_out = run.evaluation.base_rate if run.evaluation else None
    for rows, rate in (("train", run.train_base_rate), ("held-out", held_out)):
        if rate in (0.0, 1.0):
            return Finding(
                cause="constant labels",
                evidence=f"every one of the {rows} rows has the label {rate:.0f}, so no order of them is better than another",
                advice="Check which column of the raw data is the label, and whether a filter dropped the other class",
            )
    return None


def constant_scores(run: Evidence) -> Finding | None:
    """The model gives every row the same score."""
    if run.evaluation is None:
        return None
    highest, lowest = run.evaluation.highest_score, run.evaluation.lowest_score
    if highest - lowest > 1e-6 * max(highest, 1e-30):
        return None
    return Finding(
        cause="constant scores",
        evidence=f"all {run.evaluation.num_rows:,} scores lie between {lowest:.9g} and {highest:.9g}",
        advice="The features do not reach the output: look for dead activations (a ReLU as last layer, a far too large "
        "learning rate), for weights that were not loaded, and for features that are all the same",
    )


def inverted_labels(run: Evidence) -> Finding | None:
    """The order is right way round for the other label."""
    auc, high = _auc(run)
    if not (auc < 0.45 and high < 0.5):
        return None
    return Finding(
        cause="inverted labels",
        evidence=f"the AUC is {auc:.4f}, surely below 0.5; with 0 and 1 exchanged it would be {1 - auc:.4f}",
        advice="Compare the labels of these rows with the raw data, and the sign of the score (the probability of 1, not of 0)",
    )


def labels_of_another_file(run: Evidence) -> Finding | None:
    """Labels that have nothing to do with the features beside them: those of other rows, or shuffled."""
    auc, high = _auc(run)
    slope = _refuted_claim(run, auc, (high - auc) / 1.96) if high - auc < KNOWN_ENOUGH else None
    if slope is not None:
        return _unrelated(
            f"the AUC is {auc:.4f}, and the rows' clicks follow {slope:+.2f} of the differences between their scores, where a "
            "model's own probabilities ask for 1",
            "The held-out labels do not belong to their rows, or training learned its rows by heart: check that features and "
            "labels come from the same lines of the same file, then train for fewer epochs",
        )
    is_chance = abs(auc - 0.5) < NEAR_CHANCE or (auc < 0.55 and 2 * auc - high < 0.5 < high)
    share = run.last_loss / run.train_entropy
    noise = run.loss_noise / run.train_entropy
    if not (high - auc < KNOWN_WELL and is_chance and noise < STEADY):
        return None
    if share < LEARNED and share + noise < 1:
        return _unrelated(
            f"the training loss fell to {run.last_loss:.4f}, {1 - share:.1%} below that of knowing the base rate alone, but on "
            f"the held-out rows the AUC is {auc:.4f}",
            "The held-out labels do not belong to their rows, or training learned its rows by heart: check that features and "
            "labels of the held-out rows come from the same lines of the same file, then train for fewer epochs",
        )
    if abs(share - 1) < 0.03 + noise and run.first_loss > run.last_loss * 1.005:
        return _unrelated(
            f"the training loss went from {run.first_loss:.4f} to {run.last_loss:.4f} and stopped at what knowing the base "
            f"rate alone gives ({run.train_entropy:.4f}); the AUC is {auc:.4f}",
            "No feature tells anything about the labels: check that labels and features were read from the same lines (a "
            "shuffle of one of them, a label file of another day)",
        )
    return None


def leaked_label(run: Evidence) -> Finding | None:
    """Too good to be true."""
    auc, _ = _auc(run)
    if not auc > LEAKED_AUC:
        return None
    return Finding(
        cause="leaked label",
        evidence=f"the AUC is {auc:.5f}; no click model reaches {LEAKED_AUC}",
        advice="Look for a feature that is known only after the click (or the label itself among the features): leave out one "
        "feature at a time until the AUC falls",
    )


def _refuted_claim(run: Evidence, auc: float, auc_se: float) -> float | None:
    """The slope of observed on predicted rates where it is surely below the 1 of calibrated scores, as far as chance goes 0.

    Over tenths of the rows by score. None too where the AUC is not chance: then scores are too bold, but not unrelated.
    """
    tenths = run.evaluation.deciles() if run.evaluation else []
    num_rows = sum(tenth.num_rows for tenth in tenths)
    predicted = sum(tenth.num_rows * tenth.predicted for tenth in tenths) / max(num_rows, 1)
    observed = sum(tenth.num_rows * tenth.observed for tenth in tenths) / max(num_rows, 1)
    spread = sum(tenth.num_rows * (tenth.predicted - predicted) ** 2 for tenth in tenths)
    if not spread > 0:
        return None
    common = sum(t.num_rows * (t.predicted - predicted) * (t.observed - observed) for t in tenths)
    slope, slope_se = common / spread, math.sqrt(observed * (1 - observed) / spread)
    is_chance = auc < 0.55 and abs(auc - 0.5) < SURE * auc_se and abs(slope) < SURE * slope_se
    return slope if is_chance and slope + SURE * slope_se < 1 else None


def _auc(run: Evidence) -> tuple[float, float]:
    """AUC and the upper end of its interval; nan where there is none."""
    if run.evaluation is None:
        return math.nan, math.nan
    summary = run.evaluation.summary()
    return summary["auc"], summary["auc_high"]


def _unrelated(evidence: str, advice: str) -> Finding:
    return Finding(cause="labels of another file", evidence=evidence, advice=advice)
