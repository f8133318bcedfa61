"""All checks in order: what the numbers of a run say about an AUC that is stuck, or too good."""

from collections.abc import Callable

from pipeline.auc_doctor.evidence import Evidence
from pipeline.auc_doctor.feature_checks import (
    constant_features,
    ids_in_one_bucket,
    ids_in_row_0,
    order_of_days,
    same_rows,
)
from pipeline.auc_doctor.findings import Finding
from pipeline.auc_doctor.label_checks import (
    constant_labels,
    constant_scores,
    inverted_labels,
    labels_of_another_file,
    leaked_label,
)
from pipeline.auc_doctor.training_checks import diverging_rate, idle_rate, idle_tables, infinite_loss

SUSPECT_AUC = 0.55
CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    constant_labels,
    infinite_loss,
    diverging_rate,
    idle_rate,
    idle_tables,
    constant_features,
    ids_in_one_bucket,
    ids_in_row_0,
    constant_scores,
    inverted_labels,
    leaked_label,
    same_rows,
    order_of_days,
)


def diagnose(run: Evidence) -> list[Finding]:
    """Every cause that the numbers show, root causes first; empty for a healthy run.

    Labels of another file are suspected only where nothing else was found: whatever keeps a model from learning looks alike.
    """
    found = [finding for check in CHECKS if (finding := check(run)) is not None]
    last_resort = None if found else labels_of_another_file(run)
    return found if last_resort is None else [last_resort]
