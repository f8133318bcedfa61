"""Going on from a checkpoint: where, and whether it fits this run."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from data.errors import CheckpointError
from pipeline.checkpointing.choosing import has_checkpoints, last_good, set_damaged_aside
from pipeline.checkpointing.files import clear_leftovers
from pipeline.checkpointing.meta import CheckpointMeta, check_same_tables, read_meta
from pipeline.config import TrainConfig
from pipeline.ranks import Ranks
from pipeline.run_directory import RunDirectory
from pipeline.sources import Source
from pipeline.training.row_digest import RowsSeen, step_part
from pipeline.training.stall import Stall
from pipeline.training.standing import Standing

_ORDER_KEYS = ("global_batch_size", "seed")


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A checkpoint that fits this run, and where it stood; `in_place`: the run goes on in its own directory."""

    checkpoint: Path
    meta: CheckpointMeta
    in_place: bool

    @property
    def standing(self) -> Standing:
        return standing_of(self.meta)


def standing_of(meta: CheckpointMeta) -> Standing:
    """Where the run of a checkpoint stood."""
    return Standing(
        step=meta.step,
        epoch=meta.epoch,
        seen=RowsSeen(meta.rows_digest, meta.last_step_rows),
        val_auc=meta.val_auc,
        best_auc=meta.best_auc,
        best_step=meta.best_step,
        stall=Stall(**meta.stall),
    )


def is_finished(config: TrainConfig) -> bool:
    """Whether `resume: auto` finds its run done, results and all."""
    return config.resume == "auto" and own_directory(config).metrics.is_file()


def own_directory(config: TrainConfig) -> RunDirectory:
    """The directory that a run with `resume: auto` goes on in."""
    return RunDirectory(Path(config.runs_dir) / config.name)


def resume_point(config: TrainConfig, source: Source, tables: dict[str, list[int]]) -> ResumePoint | None:
    """Where to go on, None to start anew; for one rank to find. CheckpointError where the run would not be the same run."""
    own = own_directory(config).path
    if config.resume == "auto" and own.is_dir():
        clear_leftovers(own / "checkpoints")
        if has_checkpoints(own):
            point = _fitting(last_good(own), config, source, tables, in_place=True)
            set_damaged_aside(own, newer_than=point.meta.step)
            print(f"going on from {point.checkpoint}", file=sys.stderr)
            return point
    if config.resume_from is None:
        return None
    return _fitting(last_good(Path(config.resume_from)), config, source, tables, in_place=False)


def check_last_step(point: ResumePoint, config: TrainConfig, source: Source, ranks: Ranks) -> None:
    """Read the last step's rows again; CheckpointError, on every rank, where they are not those that were trained on."""
    step = point.meta.step - 1
    batches = source.train_batches(config.training, ranks, max(step, 0))
    if step < 0 or step >= batches.num_steps:
        return
    with contextlib.closing(iter(batches)) as rows:  # pyright: ignore[reportArgumentType]
        part = step_part(next(rows).row_ids, ranks.rank)
    dist.all_reduce(part)
    if part.item() != point.meta.last_step_rows:
        raise CheckpointError(
            f"{point.checkpoint}: step {step} gives other rows now than when it was trained on: the data or the code that "
            "orders them has changed, and rows would be skipped or repeated. "
            "Take the data and the version that it was trained with."
        )


def _fitting(
    checkpoint: Path, config: TrainConfig, source: Source, tables: dict[str, list[int]], *, in_place: bool
) -> ResumePoint:
    meta = read_meta(checkpoint)
    check_same_tables(checkpoint, meta, tables)
    _check_same_order(checkpoint, meta, config, source)
    return ResumePoint(checkpoint=checkpoint, meta=meta, in_place=in_place)


def _check_same_order(checkpoint: Path, meta: CheckpointMeta, config: TrainConfig, source: Source) -> None:
    if meta.data_fingerprint != source.fingerprint:
        raise CheckpointError(
            f"{checkpoint} was trained on other data (fingerprint {meta.data_fingerprint[:12]}, here "
            f"{source.fingerprint[:12]}): its position in the data means nothing here. Give data.path of the same data."
        )
    saved = meta.config.get("training", {})
    for key in _ORDER_KEYS:
        if saved.get(key) != getattr(config.training, key):
            raise CheckpointError(
                f"{checkpoint} was trained with training.{key}={saved.get(key)}, this run has "
                f"{getattr(config.training, key)}: the order of the rows depends on it. Set it to {saved.get(key)}."
            )
