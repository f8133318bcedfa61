"""Causes that lie in the features: what the tables and the dense part get to see."""

from collections.abc import Sequence
from statistics import median

from pipeline.auc_doctor.evidence import Evidence, TableEvidence
from pipeline.auc_doctor.findings import Finding

MOSTLY = 0.8
UNKNOWN_MORE = 0.3
SEEN_AGAIN = 0.2


def ids_in_row_0(run: Evidence) -> Finding | None:
    """Most ids of most features are taken for missing, rare or unknown."""
    if not run.tables:
        return None
    if median(table.rare_rate for table in run.tables) > MOSTLY:
        count = sum(table.rare_rate > MOSTLY for table in run.tables)
        return Finding(
            cause="most ids in row 0",
            evidence=f"in {count} of {len(run.tables)} tables more than {MOSTLY:.0%} of the ids that are there look up row 0, as "
            f"too rare ({_examples(run.tables, 'rare_rate')})",
            advice="Prepare again with a lower min_count, or with more rows",
        )
    unknown = [table for table in run.tables if _unknown_more(table) > UNKNOWN_MORE]
    if len(unknown) <= len(run.tables) / 2:
        return None
    return Finding(
        cause="most ids in row 0",
        evidence=f"in {len(unknown)} of {len(run.tables)} tables the test rows look up row 0 far more often than the train rows "
        f"({', '.join(_test_and_train(table) for table in unknown[:3])})",
        advice="The ids of the test rows are unknown to the id maps: prepare train and test with the same maps, and check that "
        "the raw ids are written alike",
    )


def ids_in_one_bucket(run: Evidence) -> Finding | None:
    """Most features have a single id, whatever the row: hashed into one bucket, or a column of constants."""
    present = [table for table in run.tables if table.missing_rate < MOSTLY]
    single = [table for table in present if table.num_ids == 1]
    if not single or len(single) * 2 < len(present):
        return None
    return Finding(
        cause="ids hashed into one bucket",
        evidence=f"{len(single)} of {len(present)} sparse features have one single id in all train rows: "
        f"{_names([table.name for table in single])}",
        advice="Check table sizes and hash function (ids=hash with tables of 2 rows keeps one id), then the raw columns",
    )


def constant_features(run: Evidence) -> Finding | None:
    """Most dense columns never change."""
    constant = [name for name, std in run.dense_stds.items() if std == 0]
    if not constant or len(constant) * 2 < len(run.dense_stds):
        return None
    return Finding(
        cause="features constant",
        evidence=f"{len(constant)} of {len(run.dense_stds)} dense features have the same value in all train rows: "
        f"{_names(constant)}",
        advice="Check the columns of the raw data and their separator: missing integers become 0",
    )


def same_rows(run: Evidence) -> Finding | None:
    """Test rows that the model was trained on."""
    share = run.share_seen_in_train
    if share is None or share < SEEN_AGAIN:
        return None
    return Finding(
        cause="train and test the same rows",
        evidence=f"{share:.0%} of the test rows have a twin in train, equal in every feature",
        advice="The AUC measures memory: remove copies of lines from the raw data, and check that no file was given twice",
    )


def order_of_days(run: Evidence) -> Finding | None:
    """Test rows that are not later than the train rows."""
    if run.num_days > 1 and run.split_by != "day":
        return Finding(
            cause="order of days broken",
            evidence=f"the rows come from {run.num_days} days, but were split by {run.split_by}: train holds rows of the test's "
            "own days",
            advice="Prepare with split.by=day, so that the last day is the test, as it will be in use",
        )
    last, first = run.last_train_row, run.first_test_row
    if run.split_by != "day" or last is None or first is None or first > last:
        return None
    return Finding(
        cause="order of days broken",
        evidence=f"the test begins at row {first:,}, before the last train row {last:,}",
        advice="Prepare again from day files whose numbers follow the calendar",
    )


def _unknown_more(table: TableEvidence) -> float:
    return 0.0 if table.test_unmapped_rate is None else table.test_unmapped_rate - table.unmapped_rate


def _test_and_train(table: TableEvidence) -> str:
    return f"{table.name} {table.test_unmapped_rate:.0%} against {table.unmapped_rate:.0%}"


def _examples(tables: Sequence[TableEvidence], attribute: str) -> str:
    worst = sorted(tables, key=lambda table: -getattr(table, attribute))[:3]
    return ", ".join(f"{table.name} {getattr(table, attribute):.0%}" for table in worst)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
