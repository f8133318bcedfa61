"""What a model that serves consists of, wherever it is read from: a run, a checkpoint, or a bundle."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from data.errors import ConfigError
from data.manifest import Manifest
from data.preparing.fitted_files import fitted_of_prepared
from data.preparing.spec_recipe import FittedSpec
from data.schema import Schema
from models.config import ModelConfig
from models.loss_config import LossConfig
from pipeline.checkpointing.choosing import last_good
from pipeline.checkpointing.export import ranker_weights
from pipeline.checkpointing.meta import CheckpointMeta, read_meta
from pipeline.config import TrainConfig
from pipeline.settings import from_plain


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How the weights are stored: type by table (fp32, fp16, int8, int4), and of the dense part (fp32, bf16, int8)."""

    tables: dict[str, str]
    dense: str = "fp32"

    @property
    def is_quantized(self) -> bool:
        """Whether anything is stored otherwise than it was trained."""
        return self.dense != "fp32" or bool(self.tables)


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """Settings, weights and transforms. `weights`: by the ranker's names; a quantized table's fused rows as `tables.<name>`.

    `precision.tables` names the tables that are stored by FBGEMM's quantized kernels; the others are as trained.
    """

    config: ModelConfig
    loss: LossConfig
    schema: Schema
    weights: dict[str, Tensor]
    precision: Precision
    fitted: FittedSpec
    fitted_path: Path
    """Where the transforms were read from: the id maps lie there."""
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A checkpoint, its settings, and the data that it was trained on, or those given in their place."""

    checkpoint: Path
    meta: CheckpointMeta
    config: TrainConfig
    manifest: Manifest

    @property
    def data_path(self) -> Path:
        return Path(self.config.data.path)


def read_trained(path: Path, data_path: str | None) -> TrainedModel:
    """The last whole checkpoint at `path` with its settings and manifest; ConfigError where it was trained on random data."""
    checkpoint = last_good(path)
    meta = read_meta(checkpoint)
    config = from_plain(TrainConfig, meta.config, str(checkpoint))
    if config.data.source == "random":
        raise ConfigError(
            f"{checkpoint} was trained on random data, which no raw rows stand behind: there is nothing that a bundle could"
            " transform. Take a run on prepared data."
        )
    if data_path is not None:
        config = replace(config, data=replace(config.data, path=data_path))
    manifest = Manifest.load(config.data.path)
    _check_same_data(checkpoint, meta, manifest, config.data.path)
    return TrainedModel(checkpoint=checkpoint, meta=meta, config=config, manifest=manifest)


def parts_of_checkpoint(trained: TrainedModel) -> ModelParts:
    """The parts of a trained model, in float32."""
    return ModelParts(
        config=trained.config.model,
        loss=trained.config.loss,
        schema=trained.manifest.schema,
        weights=ranker_weights(trained.checkpoint),
        precision=Precision(tables={}),
        fitted=fitted_of_prepared(trained.data_path, trained.manifest),
        fitted_path=trained.data_path,
        origin={
            "checkpoint": str(trained.checkpoint),
            "step": trained.meta.step,
            "data": trained.manifest.fingerprint,
            "config": trained.meta.config_fingerprint,
            "trained_by_code": trained.meta.code_fingerprint,
            "trained_with": trained.meta.versions,
            "seed": trained.config.training.seed,
        },
    )


def _check_same_data(checkpoint: Path, meta: CheckpointMeta, manifest: Manifest, path: str) -> None:
    """Tables of the same size do not make the same rows: ids must be mapped as in training, to the last one."""
    if manifest.fingerprint != meta.data_fingerprint:
        raise ConfigError(
            f"{checkpoint} was trained on data of the fingerprint {meta.data_fingerprint[:12]}, {path} has"
            f" {manifest.fingerprint[:12]}: its id maps would give ids other rows than in training. Name the run's own"
            " prepared directory by data_path."
        )
