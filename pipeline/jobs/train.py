"""Planned sharded training, from settings to report."""

from collections.abc import Mapping

from torchrec.modules.embedding_configs import EmbeddingBagConfig

from pipeline.assembly import assemble, choose_plan, table_shapes
from pipeline.config import TrainConfig
from pipeline.evaluation import evaluate
from pipeline.examination import examine, is_suspect, tell_findings
from pipeline.learner import Learner, build_learner
from pipeline.ranks import Ranks, joined_ranks
from pipeline.results import Results, judge
from pipeline.resume import resume_point
from pipeline.run_directory import RunDirectory
from pipeline.run_files import finish_run, start_run
from pipeline.sources import TrainBatches, open_source
from pipeline.step_log import SilentLog, StepLog
from pipeline.trainer import Hooks, Outcome, Trainer, last_step
from sharding_plans.apply import table_configs

JUDGED_SPLITS = ("val", "test")


def run(config: TrainConfig) -> int:
    """Train on this rank, together with the others; 0 when the run is whole."""
    with joined_ranks(config.device, config.training.threads_per_rank) as ranks:
        train(config, ranks)
    return 0


def train(config: TrainConfig, ranks: Ranks) -> Results:
    """One whole run on ranks that have joined already: the model's results on val and test; a collective."""
    source = ranks.together(lambda: open_source(config.data, config.training.seed))
    task = ranks.together(lambda: assemble(config, source, ranks.device.type))
    tables, batch_size = table_shapes(task), config.training.global_batch_size
    resume = ranks.together(lambda: resume_point(config, source, tables))
    first_step = resume.step if resume else 0
    batches = ranks.together(lambda: source.train_batches(config.training, ranks, first_step))
    planned = ranks.together(lambda: choose_plan(config.sharding, task, source.schema, batch_size, ranks))
    directory = ranks.on_zero(lambda: start_run(config, planned))
    configs = dict(table_configs(task))
    learner = build_learner(config, source, task, planned.plan, tables, ranks)
    if resume:
        learner.load(resume.checkpoint, resume.meta)
    outcome = _train(learner, batches, directory, ranks, first_step)
    learner.save(directory.checkpoints, outcome.step, ranks)
    results = judge(learner.model, source, JUDGED_SPLITS, config.training.eval_batch_size, ranks, directory.scores)
    ranks.on_zero(lambda: finish_run(directory, config, source, planned, outcome, results))
    _call_doctor(results, learner, configs, directory, ranks)
    return results


def _train(learner: Learner, batches: TrainBatches, directory: RunDirectory, ranks: Ranks, first_step: int) -> Outcome:
    config = learner.config.training
    log = StepLog(directory, last_step(config, batches)) if ranks.is_zero else SilentLog()
    try:
        return Trainer(
            model=learner.model,
            optimizer=learner.optimizer,
            schedule=learner.schedule,
            batches=batches,
            config=config,
            ranks=ranks,
            log=log,
            hooks=_hooks(learner, directory, ranks),
            first_step=first_step,
        ).run()
    finally:
        log.close()


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


def _hooks(learner: Learner, directory: RunDirectory, ranks: Ranks) -> Hooks:
    source, size = learner.source, learner.config.training.eval_batch_size
    return Hooks(
        evaluate=lambda: evaluate(learner.model, source.eval_batches("val", size, ranks), ranks).metrics(),
        save_checkpoint=lambda step: learner.save(directory.checkpoints, step, ranks),
    )
