"""What a training run leaves behind, written by rank 0: settings and plan at its start, metrics and report at its end."""

import sys
from typing import Any

from pipeline.config import TrainConfig
from pipeline.results import results_table, share_of_best
from pipeline.run_directory import RunDirectory, new_run_directory, write_json
from pipeline.settings import save_yaml
from pipeline.sources import Source
from pipeline.trainer import Outcome
from sharding_plans.plan_table import plan_table
from sharding_plans.planner import Planned


def start_run(config: TrainConfig, planned: Planned) -> RunDirectory:
    """A new run directory holding the resolved settings and the plan; the plan is shown on stderr."""
    directory = new_run_directory(config.runs_dir, config.name)
    save_yaml(config, directory.config)
    table = plan_table(planned)
    directory.plan_table.write_text(table + "\n")
    print(table, file=sys.stderr)
    return directory


def finish_run(
    directory: RunDirectory,
    config: TrainConfig,
    source: Source,
    planned: Planned,
    outcome: Outcome,
    results: dict[str, float],
) -> None:
    """metrics.json and the report; the table of metrics goes to stdout, with where the run lies."""
    metrics = {**results, "perf/samples_per_s": outcome.samples_per_s, "train/steps": float(outcome.step)}
    write_json(directory.metrics, metrics)
    print(results_table(results, ("val", "test")))
    print(_closing_words(directory, source, metrics))


def _closing_words(directory: RunDirectory, source: Source, metrics: dict[str, Any]) -> str:
    lines = [f"\nrun     {directory.path}", f"report  {directory.report}"]
    share = share_of_best(metrics)
    if share is not None:
        lines.insert(
            0, f"\nThe test AUC covers {share:.1%} of the way from 0.5 to the best that is possible on these rows."
        )
    if source.is_random:
        lines.insert(0, "\nThe labels are random: an AUC of 0.5 is the right answer.")
    return "\n".join(lines)
