"""From settings to a ranker."""

import torch

from data.schema import Schema
from models.config import ModelConfig
from models.dlrm import DLRM
from models.tables import build_tables


def build_ranker(config: ModelConfig, schema: Schema, *, device: torch.device | str = "meta", seed: int = 0) -> DLRM:
    """The ranker that `config` describes, for data of the given schema.

    `device` is where the embedding tables are made: "meta" (allocated later, shard by shard) or "cpu" (an unsharded model).
    The dense part is made on the CPU from `seed`, equal on every rank. Raises ConfigError where widths do not fit.
    """
    config.check_fits(schema)
    return DLRM(config, schema, build_tables(config, schema, device), seed=seed)
