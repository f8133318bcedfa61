"""The summary of one set of scores against numbers worked by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from data.errors import DataError
from pipeline.metrics.summary import summarise


def test_four_rows_worked_by_hand():
    # Pairs: (.4, .1) won, (.4, .4) tied, (.8, .1) won, (.8, .4) won: 3.5 of 4.
    result = summarise([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    assert result["auc"] == 0.875
    # Placements of the positives .75 and 1, of the negatives 1 and .75: variance 1/32 each, over 2 rows each.
    assert result["auc_se"] == pytest.approx(math.sqrt(1 / 32 / 2 + 1 / 32 / 2))
    assert result["calibration"] == pytest.approx(1.7 / 2)
    assert (result["num_samples"], result["num_positives"]) == (4, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_auc_and_log_loss_equal_scikit_learn(dtype):
    rng = np.random.default_rng(1)
    scores = np.round(rng.random(5000), 2).astype(dtype)
    labels = (rng.random(5000) < scores).astype(np.float32)
    weights = rng.random(5000) + 0.1
    result = summarise(scores, labels, weights)
    assert result["auc"] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
    assert result["logloss"] == pytest.approx(log_loss(labels, scores, sample_weight=weights), rel=1e-6)


def test_one_class_gives_no_auc_but_the_other_figures():
    result = summarise([0.2, 0.3], [0, 0])
    assert math.isnan(result["auc"])
    assert math.isnan(result["ne"])
    assert result["logloss"] == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)


def test_predicting_the_base_rate_has_normalized_entropy_one():
    result = summarise([0.25] * 4, [1, 0, 0, 0])
    assert (result["auc"], result["ne"], result["calibration"]) == (0.5, pytest.approx(1.0), 1.0)


@pytest.mark.parametrize(
    ("scores", "labels", "weights", "words"),
    [
        ([0.1, math.nan], [0, 1], None, "1 x NaN score .the first: nan at row 1"),
        ([0.1, 1.5], [0, 1], None, "outside .0, 1. .the first: 1.5 at row 1"),
        ([0.1, 0.5], [0, 2], None, "1 x label that is neither 0 nor 1 .the first: 2 at row 1"),
        ([0.1, 0.5], [0, 1], [1, 0], "1 x weight that is not a positive"),
        ([], [], None, "it has no rows"),
    ],
)
def test_bad_input_is_refused_with_count_and_first_example(scores, labels, weights, words):
    with pytest.raises(DataError, match=words):
        summarise(scores, labels, weights)
