"""Planned sharded training, from settings to report."""

import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from torchrec.modules.embedding_configs import EmbeddingBagConfig

from data.freed_memory import give_back_freed_memory
from pipeline.assembly import assemble, learning_tables, plan_for, save_plan, table_shapes, with_negatives_kept
from pipeline.checkpointing.saving import Saver
from pipeline.config import TrainConfig
from pipeline.evaluating.evaluation import evaluate
from pipeline.evaluating.examination import examine, is_suspect, tell_findings
from pipeline.evaluating.results import Results, judge
from pipeline.launch import AskedToStop
from pipeline.profiling.recording import NoProfile, StepProfile
from pipeline.ranks import Ranks, joined_ranks, peak_rss_gib
from pipeline.reports.profile import write_page
from pipeline.run_directory import RunDirectory
from pipeline.run_files import finish_run, start_run
from pipeline.sources import TrainBatches, open_source
from pipeline.training.heartbeat import Heartbeat, NoHeartbeat, heartbeat
from pipeline.training.learner import Learner, build_learner
from pipeline.training.precision import warn_where_bf16_is_slower
from pipeline.training.pretrained import load_pretrained
from pipeline.training.resume import ResumePoint, check_last_step, is_finished, own_directory, resume_point
from pipeline.training.standing import Standing
from pipeline.training.step_log import SilentLog, StepLog
from pipeline.training.trainer import Hooks, Outcome, Trainer, last_step
from pipeline.training.votes import noticing_sigterm
from sharding_plans.applying.agreement import check_equal_batches

JUDGED_SPLITS = ("val", "test")


def run(config: TrainConfig) -> int:
    """Train on this rank, together with the others; 0 when the run is whole."""
    if is_finished(config):
        print(f"{own_directory(config).path} is finished; its results are in {own_directory(config).metrics}")
        return 0
    training = config.training
    with joined_ranks(config.device, training.threads_per_rank, training.timeout_s) as ranks:
        train(config, ranks)
    return 0


def train(config: TrainConfig, ranks: Ranks) -> Results:
    """One whole run on ranks that have joined already: the model's results on val and test; a collective.

    Raises AskedToStop on every rank once SIGTERM has reached any of them and the run is saved.
    """
    with heartbeat(ranks.rank, ranks.num_ranks) as life:
        return _whole_run(config, ranks, life)


def _whole_run(config: TrainConfig, ranks: Ranks, life: Heartbeat | NoHeartbeat) -> Results:
    source = ranks.together(lambda: open_source(config.data, config.training.seed))
    config = with_negatives_kept(config, source)
    task = ranks.together(lambda: assemble(config, source, ranks.device.type))
    tables = table_shapes(task)
    resume = ranks.on_zero(lambda: resume_point(config, source, tables))
    standing = resume.standing if resume else Standing()
    batches = ranks.together(lambda: source.train_batches(config.training, ranks, standing.step))
    planned = ranks.together(lambda: plan_for(config, task, source.schema, ranks))
    check_equal_batches(planned.local_batch_size)
    directory = ranks.on_zero(lambda: start_run(config, planned, standing.step))
    ranks.on_zero(lambda: save_plan(directory.plan, planned, config, task, source.schema))
    configs = learning_tables(task)
    if config.training.precision == "bf16":
        ranks.on_zero(lambda: warn_where_bf16_is_slower(ranks.device))
    learner = build_learner(config, source, task, planned.plan, tables, ranks)
    if resume:
        _take_over(resume, learner, ranks)
    else:
        load_pretrained(learner.model, task.ranker.pretrained_tables)
    saver = Saver(directory.checkpoints, config.checkpoint, ranks)
    with noticing_sigterm() as asked_to_stop:
        outcome = _train(learner, batches, directory, saver, ranks, standing, asked_to_stop, life)
        give_back_freed_memory()
        last = learner.save(saver, outcome.standing, ranks)
        saver.wait()
    if outcome.was_asked_to_stop:
        raise AskedToStop(_how_to_go_on(directory, last, config), here=asked_to_stop.is_set())
    life.note("evaluating", outcome.step)
    with learner.optimizer.averaged():
        results = judge(learner.model, source, JUDGED_SPLITS, config.training.eval_batch_size, ranks, directory.scores)
    peak = ranks.largest(peak_rss_gib())
    ranks.on_zero(lambda: finish_run(directory, config, source, planned, outcome, results, peak))
    _call_doctor(results, learner, configs, directory, ranks)
    return results


def _take_over(resume: ResumePoint, learner: Learner, ranks: Ranks) -> None:
    check_last_step(resume, learner.config, learner.source, ranks)
    learner.load(resume.checkpoint, resume.meta)


def _train(
    learner: Learner,
    batches: TrainBatches,
    directory: RunDirectory,
    saver: Saver,
    ranks: Ranks,
    standing: Standing,
    asked_to_stop: threading.Event,
    life: Heartbeat | NoHeartbeat,
) -> Outcome:
    config = learner.config
    last = last_step(config.training, batches)
    log = StepLog(directory, last, first_step=standing.step) if ranks.is_zero else SilentLog()
    profile = _profile(learner, last, ranks, standing)
    try:
        outcome = Trainer(
            model=learner.model,
            optimizer=learner.optimizer,
            schedule=learner.schedule,
            batches=batches,
            config=config,
            ranks=ranks,
            log=log,
            hooks=_hooks(learner, saver, ranks),
            standing=standing,
            asked_to_stop=asked_to_stop,
            heartbeat=life,
            profile=profile,
        ).run()
    finally:
        log.close()
    ranks.together(lambda: _write_profile(profile, directory, config, ranks))
    return outcome


def _profile(learner: Learner, last: int, ranks: Ranks, standing: Standing) -> StepProfile | NoProfile:
    if not learner.config.profile:
        return NoProfile()
    return StepProfile(learner.model, learner.optimizer, ranks.device, first_step=standing.step, last_step=last)


def _write_profile(
    profile: StepProfile | NoProfile, directory: RunDirectory, config: TrainConfig, ranks: Ranks
) -> None:
    parts = profile.write(directory.profile, ranks.rank)
    if parts is not None and ranks.is_zero:
        page = write_page(directory.profile, directory.path.name, parts, config.training.global_batch_size)
        print(f"profile {page}", file=sys.stderr)


def _how_to_go_on(directory: RunDirectory, checkpoint: Path, config: TrainConfig) -> str:
    how = "the same command again" if config.resume == "auto" else f"--resume_from {directory.path}"
    return f"stopped by SIGTERM; saved {checkpoint}. To go on: {how}"


def _call_doctor(
    results: Results, learner: Learner, configs: Mapping[str, EmbeddingBagConfig], directory: RunDirectory, ranks: Ranks
) -> None:
    """Where the last split's AUC is near chance or too good, say why; random data have no other AUC."""
    split = next(reversed(results.evaluations), None)
    if split is None or learner.source.is_random or not is_suspect(results.evaluations[split]):
        return
    source, evaluation = learner.source, results.evaluations[split]
    findings = examine(evaluation, split, learner.model, configs, source, directory.log, ranks)
    ranks.on_zero(lambda: tell_findings(findings, directory.doctor))


def _hooks(learner: Learner, saver: Saver, ranks: Ranks) -> Hooks:
    source, size = learner.source, learner.config.training.eval_batch_size

    def evaluate_val() -> dict[str, float]:
        with learner.optimizer.averaged():
            batches = source.eval_batches("val", size, ranks)
            found = evaluate(learner.model, batches, ranks, targets=source.schema.targets)
            return found.metrics(learner.config.training.watch_target)

    def rows_of_step(step: int) -> list[int]:
        with closing(iter(source.train_batches(learner.config.training, ranks, step))) as batches:  # pyright: ignore[reportArgumentType]
            return next(batches).row_ids.tolist()

    return Hooks(
        evaluate=evaluate_val,
        save_checkpoint=lambda standing: learner.save(saver, standing, ranks),
        rows_of_step=rows_of_step,
    )
