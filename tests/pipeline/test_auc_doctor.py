"""Each cause that the AUC doctor knows, planted in arrays; the same numbers in health raise nothing."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.auc_doctor.diagnosis import CHECKS, diagnose
from pipeline.auc_doctor.evidence import Evidence, TableEvidence
from pipeline.auc_doctor.findings import findings_text
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.summary import evaluate_arrays


def evaluation(signal: float = 1.0, num_rows: int = 4000, seed: int = 0) -> Evaluation:
    """Scores of a calibrated model whose AUC rises with `signal`; below 0 the labels are the wrong way round."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(num_rows)
    labels = rng.random(num_rows) < 1 / (1 + np.exp(1 - signal * z))
    return evaluate_arrays(1 / (1 + np.exp(1 - abs(signal or 1.0) * z)), labels)


def tables(**changes) -> list[TableEvidence]:
    healthy = TableEvidence(
        name="C0", num_ids=500, missing_rate=0.1, unmapped_rate=0.3, test_unmapped_rate=0.35, is_updated=True
    )
    return [replace(healthy, name=f"C{number}", **changes) for number in range(26)]


HEALTHY = Evidence(
    evaluation=evaluation(),
    train_base_rate=0.25,
    losses=[0.6, 0.55, 0.53, 0.52, 0.515, 0.51, 0.508, 0.507, 0.506, 0.505],
    learning_rates={"sparse": 0.1, "dense": 0.01},
    tables=tables(),
    dense_stds={f"I{number}": 1.0 for number in range(13)},
    share_seen_in_train=0.01,
    num_days=3,
    split_by="day",
    last_train_row=9_999,
    first_test_row=15_000,
)

PLANTED = {
    "constant labels": {"train_base_rate": 0.0},
    "NaN or infinite loss": {"losses": [0.6, 0.7, float("nan"), float("nan")]},
    "learning rate that diverges": {"losses": [0.6, 0.56, 0.7, 1.4, 3.0, 5.0], "evaluation": evaluation(0)},
    "learning rate that does nothing": {"losses": [0.6931, 0.6930, 0.6929, 0.6928], "evaluation": evaluation(0)},
    "tables never updated": {"tables": tables(is_updated=False)},
    "features constant": {"dense_stds": {f"I{number}": 0.0 for number in range(13)}},
    "ids hashed into one bucket": {"tables": tables(num_ids=1)},
    "most ids in row 0": {"tables": tables(unmapped_rate=0.95)},
    "constant scores": {"evaluation": evaluate_arrays(np.full(100, 0.25, np.float32), np.arange(100) % 4 == 0)},
    "inverted labels": {"evaluation": evaluation(-1)},
    "labels of another file": {"evaluation": evaluation(0)},
    "leaked label": {"evaluation": evaluate_arrays(np.linspace(0, 1, 1000), np.arange(1000) > 700)},
    "train and test the same rows": {"share_seen_in_train": 0.9},
    "order of days broken": {"split_by": "fraction"},
}


@pytest.mark.parametrize("cause", PLANTED)
def test_a_planted_cause_is_named_alone_with_numbers_and_advice(cause):
    found = diagnose(replace(HEALTHY, **PLANTED[cause]))
    assert [finding.cause for finding in found] == [cause]
    assert any(character.isdigit() for character in found[0].evidence)
    assert len(found[0].advice) > 20
    assert findings_text(found).startswith(f"AUC doctor: {cause}: ")


def test_healthy_numbers_raise_nothing():
    assert diagnose(HEALTHY) == []
    for seed in range(20):
        assert diagnose(replace(HEALTHY, evaluation=evaluation(0.5, num_rows=1000, seed=seed))) == []


def test_labels_of_other_rows_are_named_whatever_their_shuffle():
    silent = [seed for seed in range(100) if not diagnose(replace(HEALTHY, evaluation=evaluation(0, 2000, seed)))]
    assert silent == []


def test_scores_that_are_too_bold_but_in_the_right_order_raise_nothing():
    rng = np.random.default_rng(5)
    z = rng.standard_normal(4000)
    labels = rng.random(4000) < 1 / (1 + np.exp(1 - 0.4 * z))
    too_bold = evaluate_arrays(1 / (1 + np.exp(1 - 3 * z)), labels)
    assert 0.58 < too_bold.auc < 0.64
    assert diagnose(replace(HEALTHY, evaluation=too_bold)) == []


def test_every_check_has_a_planted_cause():
    assert len(PLANTED) == len(CHECKS) + 1  # and the last resort


def test_nothing_known_is_nothing_said():
    assert diagnose(Evidence()) == []


OTHER_FORMS = {
    "constant labels": [{"evaluation": evaluate_arrays([0.1, 0.2], [1, 1])}],
    "most ids in row 0": [{"tables": tables(test_unmapped_rate=0.9)}],
    "learning rate that does nothing": [{"learning_rates": {"sparse": 1e-9, "dense": 0.01}}],
    "learning rate that diverges": [
        {"evaluation": evaluation(0), "losses": [4e5, 7e5, 2.4, 0.8, 0.7, 0.6, 0.58, 0.57]}
    ],
    "labels of another file": [{"evaluation": evaluation(0), "losses": [0.6, 0.57, 0.565, 0.563, 0.5625, 0.5624]}],
    "order of days broken": [{"first_test_row": 100}],
}


@pytest.mark.parametrize("cause", OTHER_FORMS)
def test_other_forms_of_a_cause_are_named_too(cause):
    for changes in OTHER_FORMS[cause]:
        assert [finding.cause for finding in diagnose(replace(HEALTHY, **changes))] == [cause]


def test_one_constant_feature_or_table_among_many_is_no_cause():
    one_bucket = [replace(tables()[0], num_ids=1), *tables()[1:]]
    one_column = {f"I{number}": float(number > 0) for number in range(13)}
    assert diagnose(replace(HEALTHY, tables=one_bucket, dense_stds=one_column)) == []


def test_a_noisy_loss_of_rare_clicks_is_no_divergence():
    # Means over 1,200 rows at 3.4 % clicks (entropy 0.148) move by some 0.017 by themselves.
    noise = np.random.default_rng(3).normal(0, 0.017, 10)
    losses = list(np.array([0.4, 0.2, 0.16, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15]) + noise)
    for end in (0.16, 0.17, 0.18):
        assert diagnose(replace(HEALTHY, train_base_rate=0.034, losses=[*losses, 0.14, end])) == []


def test_an_auc_that_is_known_badly_proves_nothing_about_labels():
    assert diagnose(replace(HEALTHY, evaluation=evaluation(0, num_rows=300))) == []
