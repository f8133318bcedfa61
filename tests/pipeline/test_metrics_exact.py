"""Exact metrics in bounded memory against scikit-learn, against brute force, and against themselves cut another way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from data.errors import DataError
from pipeline.metrics import blocks, store
from pipeline.metrics.exact import ExactScores
from pipeline.metrics.rows import pack
from pipeline.metrics.store import RowStore
from pipeline.metrics.summary import evaluate_arrays, roc_auc

TINY = float(np.float32(1e-45))  # the smallest denormal
EDGE_SCORES = [0.0, -0.0, TINY, 2 * TINY, 1e-30, 0.1, 0.5, float(np.nextafter(np.float32(1), np.float32(0))), 1.0]
float32_probabilities = st.one_of(st.sampled_from(EDGE_SCORES), st.floats(0, 1, width=32))


@st.composite
def scored_rows(draw, elements=float32_probabilities, dtype=np.float32):
    """Scores with many ties, both classes present, and float32 weights."""
    size = draw(st.integers(2, 60))
    values = draw(st.lists(elements, min_size=1, max_size=12))
    scores = np.array(draw(st.lists(st.sampled_from(values), min_size=size, max_size=size)), dtype)
    labels = draw(arrays(np.int8, size, elements=st.integers(0, 1)))
    labels[:2] = [0, 1]
    weights = draw(arrays(np.float64, size, elements=st.floats(0.125, 100, width=16)))
    return scores, labels, weights


@settings(max_examples=150, deadline=None)
@given(scored_rows())
def test_auc_equals_scikit_learn_on_float32_extremes_and_ties(rows):
    scores, labels, weights = rows
    assert evaluate_arrays(scores, labels).auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    weighted = evaluate_arrays(scores, labels, weights)
    assert weighted.auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored_rows(elements=st.floats(0, 1), dtype=np.float64))
def test_auc_and_auprc_equal_scikit_learn_on_float64(rows):
    scores, labels, weights = rows
    weighted = evaluate_arrays(scores, labels, weights)
    assert weighted.auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
    expected = average_precision_score(labels, scores, sample_weight=weights)
    assert weighted.auprc == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored_rows(elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_auc_of_logits_equals_scikit_learn_however_large(rows):
    scores, labels, _ = rows
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def many_rows(n: int, *, dtype: type = np.float32):
    rng = np.random.default_rng(7)
    scores = (1 / (1 + np.exp(1 - rng.standard_normal(n)))).astype(dtype)
    scores[: n // 3] = np.round(scores[: n // 3], 2)
    return scores, rng.random(n) < scores, rng.choice([0.1, 0.7, 1.3], n), rng.permutation(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_spilling_and_small_blocks_do_not_move_a_bit(dtype, weighted, monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 300)
    monkeypatch.setattr(blocks, "BINS_PER_PASS", 64)
    monkeypatch.setattr(store, "SECTION_ENTRIES", 256)
    scores, labels, weights, order = many_rows(20_000, dtype=dtype)
    results = []
    for rows, capacity in ((slice(None), 20_000), (order, 1024), (order[::-1], 3000)):
        exact = ExactScores(score_dtype=dtype, weighted=weighted, spill_dir=tmp_path)
        bytes_per_row = exact._rows.key_dtype.itemsize if not weighted else 2 * (exact._rows.key_dtype.itemsize + 8) + 8
        exact._rows = RowStore(
            exact._rows.key_dtype, weighted=weighted, memory_bytes=capacity * bytes_per_row, spill_dir=tmp_path
        )
        exact.add(scores[rows], labels[rows], weights=weights[rows] if weighted else None)
        assert exact._rows.num_spilled_runs == -(-20_000 // capacity) - 1
        results.append(exact.evaluate())
    assert results[0].metrics() == results[1].metrics() == results[2].metrics()
    assert np.array_equal(results[0].roc(), results[1].roc())
    assert results[0].deciles() == results[2].deciles()
    assert not list(tmp_path.iterdir())
    expected = roc_auc_score(labels, scores, sample_weight=weights if weighted else None)
    assert results[0].auc == pytest.approx(expected, abs=1e-12)


def test_blocks_cover_all_keys_and_are_small_unless_one_score_fills_them(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 100)
    monkeypatch.setattr(blocks, "BINS_PER_PASS", 16)
    scores = np.concatenate([np.full(500, 0.3, np.float32), np.linspace(0.29999, 0.30001, 2000, dtype=np.float32)])
    keys = np.sort(pack(scores, np.zeros(2500, bool)))
    edges = blocks.block_edges(
        int(keys[0]), int(keys[-1]), keys.dtype, lambda cuts: np.searchsorted(keys, cuts), step=2
    )
    sizes = np.diff(np.searchsorted(keys, edges))
    assert sizes.sum() == 2500
    assert [size for size in sizes if size > 100] == [np.count_nonzero(scores == np.float32(0.3))]


def test_constant_scores_are_counted_not_kept():
    rows = RowStore(np.dtype(np.uint32), weighted=False, memory_bytes=4096)
    for _ in range(50):
        rows.add(pack(np.full(1000, 0.5, np.float32), np.arange(1000) % 4 == 0))
    assert [len(counts) for counts in rows.entries_below(np.array([0], np.uint32))] == [1] * (rows.num_spilled_runs + 1)
    assert max(rows.entries_below(np.array([2**32 - 1], np.uint32)))[0] <= 2
    assert evaluate_arrays(np.full(1000, 0.5, np.float32), np.arange(1000) % 4 == 0).auc == 0.5


def test_log_loss_and_normalized_entropy_intervals_match_the_bootstrap():
    rng = np.random.default_rng(3)
    scores = rng.beta(1, 6, 4000)
    labels = rng.random(4000) < np.clip(scores * 1.3, 0, 1)
    whole = evaluate_arrays(scores, labels)
    draws = [evaluate_arrays(scores[rows], labels[rows]) for rows in rng.integers(0, 4000, (400, 4000))]
    assert whole.logloss_se == pytest.approx(np.std([draw.logloss for draw in draws]), rel=0.12)
    assert whole.ne_se == pytest.approx(np.std([draw.ne for draw in draws]), rel=0.12)
    assert whole.auc_se == pytest.approx(np.std([draw.auc for draw in draws]), rel=0.12)


def test_deciles_show_predicted_and_observed_and_give_the_calibration_error():
    # Ten scores .05, .15 ... .95 with 20 rows each; each tenth observes .1 less than predicted, the lowest cannot.
    scores = np.repeat(np.arange(10) * 0.1 + 0.05, 20)
    labels = np.concatenate([np.arange(20) < max(2 * tenth + 1 - 2, 0) for tenth in range(10)])
    result = evaluate_arrays(scores, labels)
    assert [decile.num_rows for decile in result.deciles()] == [20] * 10
    assert result.deciles()[3].predicted == pytest.approx(0.35)
    assert result.deciles()[3].observed == 0.25
    assert result.ece == pytest.approx((9 * 0.1 + 0.05) / 10)


def test_padding_is_dropped_and_duplicate_row_ids_are_refused():
    exact = ExactScores(with_row_ids=True)
    exact.add([0.2, 0.9, 0.7], [0, 1, 0], row_ids=[5, 6, -1])
    assert exact.evaluate().num_rows == 2
    exact = ExactScores(with_row_ids=True)
    exact.add([0.2, 0.9, 0.7, 0.1], [0, 1, 0, 1], row_ids=[5, 6, 6, 6])
    with pytest.raises(DataError, match=r"2 x duplicate row id \(the first: 6\)"):
        exact.evaluate()


def test_every_kind_of_bad_row_is_counted_with_its_first_row_id():
    exact = ExactScores(weighted=True)
    exact.add([0.5, math.nan, math.nan, math.inf, -0.1, 0.5], [0, 0, 1, 1, 1, 3], [10, 11, 12, 13, 14, 15], [1] * 6)
    exact.add([0.5, 0.6], [0, 1], [16, 17], [0.0, -1.0])
    with pytest.raises(DataError) as error:
        exact.evaluate()
    text = str(error.value)
    assert "2 x NaN score (the first: nan at row 11)" in text
    assert "1 x infinite score (the first: inf at row 13)" in text
    assert "-0.1" in text
    assert "2 x weight that is not a positive finite number (the first: 0.0 at row 16)" in text
    assert "1 x label that is neither 0 nor 1 (the first: 3 at row 15)" in text


def test_decile_intervals_hold_the_observed_rate_also_at_0_and_1():
    for labels in (np.zeros(777), np.ones(777)):
        for tenth in evaluate_arrays(np.linspace(0.1, 0.9, 777), labels).deciles():
            assert tenth.observed_low <= tenth.observed <= tenth.observed_high
