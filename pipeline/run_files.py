"""What a training run leaves behind, written by rank 0: settings and plan at its start, metrics and report at its end."""

import sys
from collections.abc import Mapping

from models.card import model_card
from pipeline.config import TrainConfig
from pipeline.evaluating.results import Results
from pipeline.reports.placement import placements
from pipeline.reports.provenance import environment_facts
from pipeline.reports.training import TrainingReport, share_of_the_way, training_report
from pipeline.reports.writing import write_report
from pipeline.run_directory import RunDirectory, new_run_directory, run_directory_of, write_json
from pipeline.settings import fingerprint, save_yaml, to_plain
from pipeline.sources import Source
from pipeline.training.step_log import keep_log_up_to, read_log
from pipeline.training.trainer import Outcome
from sharding_plans.applying.apply import plan_fingerprint
from sharding_plans.files.plan_table import plan_table
from sharding_plans.planning.planner import Planned


def start_run(config: TrainConfig, planned: Planned, first_step: int = 0) -> RunDirectory:
    """The run's directory, new unless it goes on in its own, with resolved settings and plan; the plan is shown on stderr."""
    if config.resume == "auto":
        directory = run_directory_of(config.runs_dir, config.name)
        keep_log_up_to(directory.log, first_step)
    else:
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
    results: Results,
    peak_rss_gib: float,
) -> None:
    """metrics.json and the report; the table of metrics goes to stdout, with where the run lies."""
    metrics = {
        **results.flat(),
        "perf/samples_per_s": outcome.samples_per_s,
        "perf/peak_rss_gib": peak_rss_gib,
        "train/steps": float(outcome.step),
    }
    write_json(directory.metrics, metrics)
    report = training_report(
        TrainingReport(
            name=directory.path.name,
            metrics=metrics,
            log=read_log(directory.log),
            plan=placements(planned.options, planned.topology.world_size),
            deciles=results.evaluations["test"].deciles() if "test" in results.evaluations else (),
            data_is_random=source.is_random,
            ended=outcome.reason,
            model=model_card(config.model, source.schema),
            settings=directory.config.read_text(),
            provenance=_provenance(config, source, planned),
        )
    )
    write_report(directory.path, report)
    print(results.table())
    print(_closing_words(directory, source, metrics))


def _provenance(config: TrainConfig, source: Source, planned: Planned) -> dict[str, str]:
    return {
        "Data": f"{'random' if source.is_random else source.config.path}, fingerprint {source.fingerprint[:16]}",
        "Settings": f"fingerprint {fingerprint(to_plain(config))}, seed {config.training.seed}",
        "Plan": f"fingerprint {plan_fingerprint(planned.plan)[:16]}",
        **environment_facts(),
    }


def _closing_words(directory: RunDirectory, source: Source, metrics: Mapping[str, float]) -> str:
    lines = [f"\nrun     {directory.path}", f"report  {directory.report}"]
    share = share_of_the_way(metrics)
    if share is not None:
        lines.insert(
            0, f"\nThe test AUC covers {share:.1%} of the way from 0.5 to the best that is possible on these rows."
        )
    if source.is_random:
        lines.insert(0, "\nThe labels are random: an AUC of 0.5 is the right answer.")
    return "\n".join(lines)
