"""Checkpoints by themselves: what is inside, is it whole, laid out for other ranks, as a plain state dict."""

from dataclasses import replace
from pathlib import Path

from data.errors import CheckpointError
from pipeline.assembly import assemble, plan_for, table_shapes
from pipeline.checkpoint_config import CheckpointConfig, CheckpointJobConfig
from pipeline.checkpointing.choosing import last_good
from pipeline.checkpointing.export import export
from pipeline.checkpointing.files import verify
from pipeline.checkpointing.meta import CheckpointMeta, read_meta
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import sizes
from pipeline.config import TrainConfig
from pipeline.ranks import Ranks, joined_ranks
from pipeline.settings import from_plain
from pipeline.sources import open_source
from pipeline.training.learner import build_learner
from pipeline.training.resume import standing_of


def run(config: CheckpointJobConfig) -> int:
    """Do what `action` says; 0 when it is done."""
    if config.action == "convert":
        with joined_ranks("cpu") as ranks:
            _convert(config, ranks)
        return 0
    checkpoint = last_good(Path(config.checkpoint))
    if config.action == "inspect":
        print(_description(checkpoint, read_meta(checkpoint)))
    elif config.action == "verify":
        verify(checkpoint)
        print(f"{checkpoint} is whole: {len(read_meta(checkpoint).files or {})} files have the bytes that were saved")
    else:
        assert config.out is not None
        written = export(checkpoint, Path(config.out))
        print(f"{len(written)} weights of {checkpoint} are in {config.out}")
    return 0


def _convert(config: CheckpointJobConfig, ranks: Ranks) -> None:
    """The same checkpoint in the pieces of a plan for these ranks, under `out`; a collective."""
    checkpoint = ranks.on_zero(lambda: last_good(Path(config.checkpoint)))
    meta = read_meta(checkpoint)
    trained = ranks.together(lambda: _settings(meta, config, checkpoint))
    source = ranks.together(lambda: open_source(trained.data, trained.training.seed))
    task = ranks.together(lambda: assemble(trained, source, ranks.device.type))
    planned = ranks.together(lambda: plan_for(trained, task, source.schema, ranks))
    learner = build_learner(trained, source, task, planned.plan, table_shapes(task), ranks)
    learner.load(checkpoint, meta)
    out = Path(config.out or "")
    ranks.on_zero(lambda: _check_free(out / checkpoint.name))
    saver = Saver(out, CheckpointConfig(keep_last=1_000_000), ranks)
    written = learner.save(saver, standing_of(meta), ranks)
    if ranks.is_zero:
        print(f"{checkpoint} is in {written}, laid out for {ranks.num_ranks} ranks")


def _settings(meta: CheckpointMeta, config: CheckpointJobConfig, checkpoint: Path) -> TrainConfig:
    trained = replace(from_plain(TrainConfig, meta.config, str(checkpoint)), plan=config.plan)
    if config.sharding_types is None:
        return trained
    return replace(trained, sharding=replace(trained.sharding, sharding_types=config.sharding_types))


def _check_free(path: Path) -> None:
    if path.exists():
        raise CheckpointError(f"{path} exists already; give another --out.")


def _description(checkpoint: Path, meta: CheckpointMeta) -> str:
    total = sum(file["bytes"] for file in (meta.files or {}).values())
    facts = {
        "checkpoint": str(checkpoint),
        "step": f"{meta.step:,} ({meta.epoch} epochs done)",
        "size": f"{total / 2**20:,.2f} MiB in {len(meta.files or {})} files, written by {meta.num_ranks} ranks",
        "val AUC": "not evaluated here" if meta.val_auc is None else f"{meta.val_auc:.5f}",
        "best val AUC": "none" if meta.best_auc is None else f"{meta.best_auc:.5f} at step {meta.best_step:,}",
        "rows digest": meta.rows_digest or "no rows",
        "settings": meta.config_fingerprint,
        "data": meta.data_fingerprint,
        "plan": meta.plan_fingerprint,
        "code": meta.code_fingerprint,
        "versions": ", ".join(f"{name} {version}" for name, version in meta.versions.items()),
    }
    lines = [f"{name:<13} {value}" for name, value in facts.items()]
    lines += ["", f"{'table':<12} {'rows':>12} {'width':>6}  {'sharding type':<18} {'ranks':<10}"]
    for table, (rows, width) in meta.tables.items():
        how = meta.plan.get(table, {})
        on = ",".join(map(str, how.get("ranks", [])))
        lines.append(f"{table:<12} {rows:>12,} {width:>6}  {how.get('sharding_type', '?'):<18} {on:<10}")
    lines += ["", f"{'tensor':<64} {'shape':<18} {'dtype':<8} {'pieces':>6}"]
    for name, (shape, dtype, pieces) in sorted(sizes(checkpoint).items()):
        lines.append(f"{name:<64} {'x'.join(map(str, shape)) or 'scalar':<18} {dtype:<8} {pieces:>6}")
    return "\n".join(lines)
