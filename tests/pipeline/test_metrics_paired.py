"""DeLong's interval and paired test: a published example, the definition computed the slow way, and simulated rates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics.paired import Difference, PairedRows, holm
from pipeline.metrics.placements import placements
from pipeline.metrics.summary import summarise

NUM_SETS = 2000

# The 43 complete patients of DeLong, DeLong & Clarke-Pearson 1988: albumin, total protein, K-G score, outcome.
PATIENTS = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1
    3.8 5.7 5 1 3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0
    2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1
    3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0
    3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
    3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(-1, 4)


def test_published_comparison_of_three_screening_tests():
    # SAS/STAT, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves": chi-square 2.5340 with 2 degrees
    # of freedom for (albumin - K-G, total protein - K-G), p = 0.2817.
    albumin, protein, kg, outcome = PATIENTS.T
    rows = PairedRows(outcome.astype(bool))
    placed = [rows.placements(scores) for scores in (albumin, protein, 10 - kg)]
    to_kg = [rows.auc_difference(placed[2], other) for other in placed[:2]]
    between = rows.auc_difference(placed[0], placed[1])
    covariance = (to_kg[0].se ** 2 + to_kg[1].se ** 2 - between.se**2) / 2
    matrix = np.array([[to_kg[0].se ** 2, covariance], [covariance, to_kg[1].se ** 2]])
    values = np.array([to_kg[0].value, to_kg[1].value])
    chi_square = values @ np.linalg.solve(matrix, values)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)
    assert math.exp(-chi_square / 2) == pytest.approx(0.2817, abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.7]), st.integers(0, 1)), min_size=4, max_size=40))
def test_placements_and_interval_equal_the_definition_computed_pair_by_pair(rows):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    labels[:4] = [0, 1, 0, 1]
    y = labels.astype(bool)
    won = (scores[y][:, None] > scores[~y]) + 0.5 * (scores[y][:, None] == scores[~y])
    placed = placements(scores, y)
    np.testing.assert_allclose(placed[y], won.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(placed[~y], won.mean(axis=0), atol=1e-12)
    variance = won.mean(axis=1).var(ddof=1) / y.sum() + won.mean(axis=0).var(ddof=1) / (~y).sum()
    assert summarise(scores, labels)["auc_se"] == pytest.approx(math.sqrt(variance), abs=1e-12)


def test_integer_weights_count_as_copies_in_the_auc_difference():
    rng = np.random.default_rng(2)
    first, second = rng.random((2, 50)).astype(np.float32)
    labels, copies = rng.random(50) < 0.4, rng.integers(1, 4, 50)
    weighted = PairedRows(labels, copies.astype(float))
    repeated = PairedRows(np.repeat(labels, copies))
    value = weighted.auc_difference(weighted.placements(first), weighted.placements(second)).value
    placed = [repeated.placements(np.repeat(scores, copies)) for scores in (first, second)]
    assert value == pytest.approx(repeated.auc_difference(*placed).value, abs=1e-12)


def test_interval_covers_the_true_auc_in_95_percent_of_simulated_sets():
    # Normal scores one standard deviation apart: the true AUC is Phi(1 / sqrt(2)).
    rng = np.random.default_rng(11)
    true_auc = 0.5 * (1 + math.erf(0.5))
    labels = np.arange(400) < 120
    logits = rng.standard_normal((NUM_SETS, 400)) + labels
    results = [summarise(scores, labels) for scores in 1 / (1 + np.exp(-logits))]
    covered = np.mean([result["auc_low"] <= true_auc <= result["auc_high"] for result in results])
    assert 0.935 <= covered <= 0.965


def test_paired_test_raises_a_false_alarm_in_5_percent_of_simulated_sets():
    # Two models see the same signal through equally large noise of their own: equally good, and correlated.
    rng = np.random.default_rng(12)
    labels = np.arange(400) < 120
    rows = PairedRows(labels)
    alarms = 0
    for _ in range(NUM_SETS):
        shared = rng.standard_normal(400) + labels
        placed = [rows.placements(shared + 0.5 * rng.standard_normal(400)) for _ in range(2)]
        alarms += rows.auc_difference(*placed).p_value < 0.05
    assert 0.035 <= alarms / NUM_SETS <= 0.065


def test_number_of_rows_needed_gives_the_promised_power():
    # At 400 rows the difference is found rarely; at the number of rows that the average set asks for, about 4 times in 5.
    rng = np.random.default_rng(13)

    def found(num_rows: int) -> tuple[float, float]:
        labels = np.arange(num_rows) % 4 == 0
        rows = PairedRows(labels)
        tests = []
        for _ in range(200):
            signal = rng.standard_normal(num_rows) + labels
            placed = [rows.placements(signal + noise * rng.standard_normal(num_rows)) for noise in (1.0, 0.8)]
            tests.append(rows.auc_difference(*placed))
        typical = Difference(float(np.mean([t.value for t in tests])), float(np.mean([t.se for t in tests])))
        return float(np.mean([test.p_value < 0.05 for test in tests])), typical.rows_needed(num_rows)

    power_now, needed = found(400)
    assert power_now < 0.5
    assert 0.7 <= found(round(needed))[0] <= 0.9


def test_equal_scores_have_no_difference_and_p_one():
    rows = PairedRows(np.array([True, False, True, False]))
    placed = rows.placements(np.array([0.9, 0.2, 0.4, 0.5]))
    difference = rows.auc_difference(placed, placed)
    assert (difference.value, difference.se, difference.p_value) == (0, 0, 1)
    assert difference.rows_needed(4) == math.inf


def test_holm_correction_worked_by_hand():
    # Sorted .01 .02 .03 .5 times 4 3 2 1 = .04 .06 .06 .5, each at least as large as the one before.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
