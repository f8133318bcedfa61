"""Going on from a checkpoint: where, and whether it fits this run."""

import logging
from dataclasses import dataclass
from pathlib import Path

from data.errors import CheckpointError
from pipeline.checkpoints import CheckpointMeta, check_same_tables, latest, read_meta, verify
from pipeline.config import TrainConfig
from pipeline.sources import Source

logger = logging.getLogger(__name__)
_ORDER_KEYS = ("global_batch_size", "seed")


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A checkpoint that fits this run, and the step to go on with."""

    checkpoint: Path
    meta: CheckpointMeta

    @property
    def step(self) -> int:
        return self.meta.step


def resume_point(config: TrainConfig, source: Source, tables: dict[str, list[int]]) -> ResumePoint | None:
    """Where `resume_from` goes on, None without it; CheckpointError where the run would not be the same run."""
    if config.resume_from is None:
        return None
    checkpoint = latest(Path(config.resume_from))
    meta = read_meta(checkpoint)
    verify(checkpoint)
    check_same_tables(checkpoint, meta, tables)
    _check_same_order(checkpoint, meta, config, source)
    return ResumePoint(checkpoint=checkpoint, meta=meta)


def _check_same_order(checkpoint: Path, meta: CheckpointMeta, config: TrainConfig, source: Source) -> None:
    if meta.data_fingerprint != source.fingerprint:
        raise CheckpointError(
            f"{checkpoint} was trained on other data (fingerprint {meta.data_fingerprint[:12]}, here "
            f"{source.fingerprint[:12]}): its position in the data means nothing here. Give data.path of the same data."
        )
    saved = meta.config["training"]
    for key in _ORDER_KEYS:
        if saved[key] != getattr(config.training, key):
            raise CheckpointError(
                f"{checkpoint} was trained with training.{key}={saved[key]}, this run has "
                f"{getattr(config.training, key)}: the order of the rows depends on it. Set it to {saved[key]}."
            )
