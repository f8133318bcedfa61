"""Evaluation of a file of scores: the part of the evaluate job that needs no model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.auc_doctor.findings import findings_text, plain
from pipeline.evaluate_config import ScoresConfig
from pipeline.evaluating.judging import Judged, judge_scores
from pipeline.reports.evaluation import evaluation_report
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import write_report
from pipeline.run_directory import write_json

logger = logging.getLogger(__name__)


def run_on_file(path: str, config: ScoresConfig, out: str | None) -> int:
    """Judge the scores at `path`, print the table, write metrics.json and the report to `out`; 0 also for one class only."""
    judged = judge_scores(path, config)
    print(metrics_table([judged]))
    if judged.evaluation.figures.num_positives in (0, judged.evaluation.num_rows):
        logger.warning("%s: all rows have one label, so AUC and NE are undefined; the rest is given", judged.name)
    if judged.findings:
        print(f"\n{findings_text(judged.findings)}")
    if out is not None:
        write_results([judged], Path(out), {"Scores": path})
    return 0


def write_results(
    judged: Sequence[Judged], out: Path, origin: dict[str, str], best: Mapping[str, float] | None = None
) -> None:
    """metrics.json and the report in `out`, and a line on stdout that says where. Keys of several splits begin with them.

    `best` are the figures of the planted truth, where it is known.
    """
    out.mkdir(parents=True, exist_ok=True)
    report = evaluation_report(judged, {**origin, **environment_facts()}, best=best or {})
    findings = [finding for item in judged for finding in plain(item.findings)]
    write_json(out / "metrics.json", {**report.results, **({"findings": findings} if findings else {})})
    print(f"\nmetrics  {out / 'metrics.json'}\nreport   {write_report(out, report)}")


def metrics_table(judged: Sequence[Judged]) -> str:
    """The metrics as aligned text: a line per set of scores, and below it one per slice."""
    widest = max([24, *(len(name) for item in judged for name, _ in _lines(item))])
    header = f"{'scores':<{widest}} {'AUC':>8}  {'95 % interval':<17} {'log loss':>9} {'NE':>8} {'calibration':>12} {'rows':>13}"
    lines = [header]
    for item in judged:
        for name, m in _lines(item):
            interval = f"{m['auc_low']:.5f}-{m['auc_high']:.5f}"
            lines.append(
                f"{name:<{widest}} {m['auc']:>8.5f}  {interval:<17} {m['logloss']:>9.5f} {m['ne']:>8.5f}"
                f" {m['calibration']:>12.4f} {m['num_samples']:>13,.0f}"
            )
        if item.grouped is not None:
            lines.append(f"mean AUC within {item.grouped.num_groups:,} groups: {item.grouped.auc:.5f}")
    return "\n".join(lines)


def _lines(item: Judged) -> list[tuple[str, dict[str, float]]]:
    slices = [
        (f"  {column} = {part.value}", part.evaluation.summary())
        for column, parts in item.slices.items()
        for part in parts
    ]
    return [(item.name, item.evaluation.summary()), *slices]
