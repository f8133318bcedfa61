"""Evaluation of a checkpoint on its own, on any number of ranks and under a plan made for them."""

from dataclasses import replace
from pathlib import Path

from pipeline.assembly import assemble, choose_plan, table_shapes
from pipeline.checkpoints import check_same_tables, latest, load_weights, read_meta, verify
from pipeline.config import EvaluateConfig, TrainConfig
from pipeline.ranks import joined_ranks
from pipeline.results import Results, judge
from pipeline.run_directory import write_json
from pipeline.settings import from_plain
from pipeline.sources import open_source, usable_batch_size
from sharding_plans.apply import shard


def run(config: EvaluateConfig) -> int:
    """Evaluate on this rank, together with the others; 0 when every split was evaluated."""
    with joined_ranks(config.device) as ranks:
        checkpoint = ranks.together(lambda: latest(Path(config.checkpoint)))
        meta = ranks.together(lambda: read_meta(checkpoint))
        ranks.on_zero(lambda: verify(checkpoint))
        trained = ranks.together(lambda: _training_settings(meta.config, config, checkpoint))
        source = ranks.together(lambda: open_source(trained.data, trained.training.seed))
        task = ranks.together(lambda: assemble(trained, source.schema, ranks.device.type))
        batch_size = usable_batch_size(config.eval_batch_size, ranks.num_ranks)
        ranks.together(lambda: check_same_tables(checkpoint, meta, table_shapes(task)))
        planned = ranks.together(lambda: choose_plan(trained.sharding, task, source.schema, batch_size, ranks))
        model = shard(task, planned.plan, ranks.device, seed=trained.training.seed)
        load_weights(checkpoint, model)
        out = Path(config.out) if config.out else None
        results = judge(model, source, config.splits, config.eval_batch_size, ranks, out and out / "scores")
        ranks.on_zero(lambda: _tell(results, out))
    return 0


def _training_settings(plain: dict, config: EvaluateConfig, checkpoint: Path) -> TrainConfig:
    """The run's settings, with other data where asked."""
    trained = from_plain(TrainConfig, plain, str(checkpoint))
    if config.data_path is not None:
        trained = replace(trained, data=replace(trained.data, path=config.data_path))
    return trained


def _tell(results: Results, out: Path | None) -> None:
    print(results.table())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "metrics.json", results.flat())
        print(f"\nmetrics  {out / 'metrics.json'}")
