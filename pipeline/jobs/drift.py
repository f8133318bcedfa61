"""The drift job: how far the rows of one prepared set have moved from another's."""

from pathlib import Path

from data.check_config import DriftConfig
from data.reading.drift import Drift, measure_drift
from pipeline.reports.document import format_value
from pipeline.reports.drift import drift_report, drift_table
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import write_report


def run(config: DriftConfig) -> int:
    """0; 1 where a feature moved far and the settings make that a failure."""
    drift = measure_drift(config)
    page = _write(drift, config) if config.out is not None else None
    print(drift_text(drift, config))
    if page:
        print(f"\nreport  {page}")
    return int(config.fail_on_alarm and drift.features[0].psi >= config.alarm_at)


def _write(drift: Drift, config: DriftConfig) -> Path:
    rows = f"{drift.num_rows_a:,} and {drift.num_rows_b:,}"
    origin = {"A": drift.name_a, "B": drift.name_b, "Rows looked at": rows, **environment_facts()}
    return write_report(str(config.out), drift_report(drift, config.warn_at, config.alarm_at, origin))


def drift_text(drift: Drift, config: DriftConfig) -> str:
    """The table of all features, and the label rates."""
    table = drift_table(drift, config.warn_at, config.alarm_at)
    rows = [[column.title for column in table.columns]]
    for row in table.rows:
        rows.append([format_value(value, column.spec) for value, column in zip(row, table.columns, strict=True)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    name = widths.pop(0)
    lines = [
        "  ".join([row[0].ljust(name), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))])
        for row in rows
    ]
    labels = f"label rate {drift.label_rate_a:.4f} in A, {drift.label_rate_b:.4f} in B ({drift.label_z:+.1f} standard errors)"
    return "\n".join([f"A: {drift.name_a}", f"B: {drift.name_b}", labels, "", *lines])
