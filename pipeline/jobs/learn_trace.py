"""The learn-trace job: how each feature's ids are accessed, kept without the ids, and how well a trace from that matches."""

from collections.abc import Iterator
from pathlib import Path

from data.generating.access_pattern import learn
from data.generating.feature_columns import feature_ids
from data.generating.pattern_files import one_trace, pattern_path
from data.generating.trace_comparison import TraceComparison, compare_traces
from data.trace_config import LearnTraceConfig, TraceConfig
from pipeline.reports.provenance import environment_facts
from pipeline.reports.traces import trace_report
from pipeline.reports.writing import write_report


def run(config: LearnTraceConfig) -> int:
    """Exit code 0 when every pattern (and the report) is written."""
    comparisons = list(_learned(config))
    if config.report:
        origin = {"Source": config.source, "Split": config.split, "Seed": f"{config.seed}"}
        page = write_report(config.output, trace_report(comparisons, {**origin, **environment_facts()}))
        print(f"\nreport  {page}")
    return 0


def _learned(config: LearnTraceConfig) -> Iterator[TraceComparison]:
    """Learn and save one feature after another; yields the comparisons that the report wants."""
    columns = feature_ids(config.source, config.features, split=config.split, max_rows=config.max_rows)
    for number, (name, ids) in enumerate(columns):
        pattern = learn(ids, name)
        pattern.save(pattern_path(Path(config.output), name))
        line = f"{name:<12} {pattern.num_accesses:>12,} accesses {pattern.num_ids:>11,} ids {1 - pattern.new_rate:>7.1%} repeats"
        if not config.report:
            print(line)
            continue
        trace = one_trace(TraceConfig(), pattern, pattern.num_accesses, config.seed, number)
        compared = compare_traces(name, ids, trace)
        print(f"{line}   hit rates within {100 * compared.largest_difference:.2f} points")
        yield compared
