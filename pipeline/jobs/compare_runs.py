"""Comparison of runs on the same rows: paired tests, verdicts in words, a report."""

from pathlib import Path

from pipeline.evaluate_config import CompareRunsConfig
from pipeline.metrics.comparison import RunsCompared, compare_runs, p_value_text
from pipeline.reports.evaluation import comparison_report, comparison_results
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import write_report
from pipeline.run_directory import write_json


def run(config: CompareRunsConfig) -> int:
    """Compare, print runs, differences and verdicts, write the report where `out` is given."""
    compared = compare_runs(config.runs, split=config.split, columns=config.columns, all_pairs=config.all_pairs)
    print(comparison_text(compared))
    if config.out is not None:
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "comparison_metrics.json", comparison_results(compared))
        report = comparison_report(compared, {"Runs": ", ".join(config.runs), **environment_facts()})
        print(f"\nreport  {write_report(out, report, name='comparison')}")
    return 0


def comparison_text(compared: RunsCompared) -> str:
    """Each run's AUC and log loss, each difference with its interval, and the verdicts."""
    widest = max(24, *(len(run.name) for run in compared.runs))
    lines = [f"{'run':<{widest}} {'AUC':>9}  {'95 % interval':<17} {'log loss':>9}"]
    for run in compared.runs:
        m = run.evaluation.summary()
        lines.append(
            f"{run.name:<{widest}} {m['auc']:>9.6f}  {m['auc_low']:.5f}-{m['auc_high']:.5f} {m['logloss']:>9.6f}"
        )
    lines.append("")
    for item in compared.comparisons:
        lines.append(f"{item.second} - {item.first}")
        for name, difference in (("AUC", item.auc), ("log loss", item.logloss)):
            lines.append(
                f"  {name:<9} {difference.value:+.6f}  [{difference.low:+.6f}, {difference.high:+.6f}]"
                f"  {p_value_text(difference.p_value)}"
            )
    return "\n".join([*lines, "", *(item.verdict() for item in compared.comparisons)])
