"""From settings to a ranker."""

import torch

from data.errors import ConfigError
from data.schema import Schema
from models.config import ModelConfig
from models.dense_scaling import DenseScale
from models.dlrm import DLRM
from models.tables import build_tables


def build_ranker(
    config: ModelConfig,
    schema: Schema,
    *,
    device: torch.device | str = "meta",
    seed: int = 0,
    dense_scale: DenseScale | None = None,
) -> DLRM:
    """The ranker that `config` describes, for data of the given schema.

    `device` is where the embedding tables are made: "meta" (allocated later, shard by shard) or "cpu" (an unsharded model).
    The dense part is made on the CPU from `seed`, equal on every rank. `dense_scale` is needed for `standardise_dense`.
    Raises ConfigError where widths do not fit.
    """
    config.check_fits(schema)
    if config.standardise_dense and dense_scale is None:
        raise ConfigError(
            "model.standardise_dense needs the train split's statistics, which only prepared data have; "
            "set data.source=prepared, or model.standardise_dense=false."
        )
    scale = dense_scale if config.standardise_dense else None
    return DLRM(config, schema, build_tables(config, schema, device), dense_scale=scale, seed=seed)
