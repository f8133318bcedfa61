"""Evaluation of a checkpoint on its own, on any number of ranks and under a plan made for them, or of a file of scores."""

from dataclasses import replace
from pathlib import Path

from pipeline.assembly import assemble, choose_plan, learning_tables, table_shapes
from pipeline.auc_doctor.findings import Finding, findings_text
from pipeline.checkpointing.choosing import last_good
from pipeline.checkpointing.meta import check_same_tables, read_meta
from pipeline.checkpointing.tensors import load_weights
from pipeline.config import EvaluateConfig, TrainConfig
from pipeline.evaluate_config import ScoresConfig
from pipeline.evaluating.examination import examine
from pipeline.evaluating.judging import Judged, judge_scores
from pipeline.evaluating.results import Results, judge
from pipeline.jobs.evaluate_scores import run_on_file, write_results
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.scores_file import is_scores_file
from pipeline.ranks import joined_ranks
from pipeline.run_directory import RunDirectory
from pipeline.settings import from_plain
from pipeline.sources import Source, eval_batch_size, open_source
from sharding_plans.applying.apply import shard


def run(config: EvaluateConfig) -> int:
    """Evaluate on this rank, together with the others; 0 when every split was evaluated."""
    if is_scores_file(config.checkpoint):
        return run_on_file(config.checkpoint, config.scores, config.out)
    with joined_ranks(config.device) as ranks:
        checkpoint = ranks.on_zero(lambda: last_good(Path(config.checkpoint)))
        meta = ranks.together(lambda: read_meta(checkpoint))
        trained = ranks.together(lambda: _training_settings(meta.config, config, checkpoint))
        source = ranks.together(lambda: open_source(trained.data, trained.training.seed))
        task = ranks.together(lambda: assemble(trained, source, ranks.device.type))
        batch_size = eval_batch_size(config.eval_batch_size, ranks.num_ranks)
        ranks.together(lambda: check_same_tables(checkpoint, meta, table_shapes(task)))
        planned = ranks.together(lambda: choose_plan(trained.sharding, task, source.schema, batch_size, ranks))
        tables = learning_tables(task)
        model = shard(task, planned.plan, ranks.device, seed=trained.training.seed)
        load_weights(checkpoint, model)
        out = Path(config.out) if config.out else None
        results = judge(model, source, config.splits, config.eval_batch_size, ranks, out and out / "scores")
        log_path = RunDirectory(checkpoint.parent.parent).log
        held_out = [split for split in results.evaluations if split != "train"][-1:]
        findings = {
            split: examine(results.evaluations[split], split, model, tables, source, log_path, ranks)
            for split in held_out
        }
        ranks.on_zero(lambda: _tell(results, findings, config, source, out))
    return 0


def _training_settings(plain: dict, config: EvaluateConfig, checkpoint: Path) -> TrainConfig:
    """The run's settings, with other data where asked."""
    trained = from_plain(TrainConfig, plain, str(checkpoint))
    if config.data_path is not None:
        trained = replace(trained, data=replace(trained.data, path=config.data_path))
    return trained


def _tell(
    results: Results, findings: dict[str, list[Finding]], config: EvaluateConfig, source: Source, out: Path | None
) -> None:
    """The table and the findings; where `out` is given metrics.json and the report, with the slices asked for."""
    print(results.table())
    for found in findings.values():
        if found:
            print(f"\n{findings_text(found)}")
    if out is None:
        return
    judged = [
        replace(_judged(split, evaluation, config.scores, source, out), findings=findings.get(split, []))
        for split, evaluation in results.evaluations.items()
    ]
    further = [
        Judged(name=f"{split} {target}", evaluation=each, split=f"{split}/{target}")
        for split, targets in results.by_target.items()
        for target, each in list(targets.items())[1:]
    ]
    origin = {"Checkpoint": config.checkpoint, "Data": f"{source.config.path}, fingerprint {source.fingerprint[:16]}"}
    write_results([*further, *judged], out, origin, results.best | results.flat_by_target())


def _judged(split: str, evaluation: Evaluation, config: ScoresConfig, source: Source, out: Path) -> Judged:
    prepared = None if source.is_random else config.data_path or source.config.path
    return judge_scores(
        out / "scores" / split,
        replace(config, data_path=prepared, data_split=split),
        split=split,
        evaluation=evaluation,
    )
